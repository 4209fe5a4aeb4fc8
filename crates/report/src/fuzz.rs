//! Pages of records that contradict themselves where no check looks.

use ulpscope_fuzzing::Target;
use ulpscope_record::RunRecord;

use crate::{html, markdown, markdown_of_several, several};

#[global_allocator]
static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

const SMALL: &str = include_str!("../../record/tests/small.json");
const EXPLAINED: &str = include_str!("../../record/tests/explained.json");

/// What ends up between tags was escaped, whatever it was.
#[test]
fn fuzz_report() {
    let short = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap().to_string();
    let hostile = SMALL
        .replace("Gravity is", "</script><img src=x onerror=alert(1)>")
        .replace("\"kernel\": \"", "\"kernel\": \"<img src=x>");
    Target::new("report", env!("CARGO_MANIFEST_DIR"))
        .seed(short(SMALL))
        .seed(short(EXPLAINED))
        .seed(short(&hostile))
        .words(&[
            "\"NaN\"",
            "\"inf\"",
            "<img src=x onerror=alert(1)>",
            "</script>",
            "model.layers.99999999",
            "null",
        ])
        .text()
        .one_in(100)
        .executions(300)
        .run(|input| {
            let record = RunRecord::from_json(&String::from_utf8_lossy(input)).map_err(|e| e.to_string())?;
            let page = html(&record);
            assert!(!page.contains("<img src=x"), "an element got into the page");
            let (opened, closed) = (page.matches("<script").count(), page.matches("</script>").count());
            assert_eq!(opened, closed, "a script was ended or begun");
            ulpscope_record::markdown(&record);
            markdown(&record);
            let runs = [("x".to_owned(), record.clone()), ("y".to_owned(), record)];
            several(&runs);
            markdown_of_several(&runs);
            Ok("a page".to_owned())
        });
}
