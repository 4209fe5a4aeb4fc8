//! Examples at the end of each `--help`. A test parses every one.

pub(crate) const TOP: &str = "\
Where to begin:
  ulpscope compare HuggingFaceTB/SmolLM2-135M --prompt 'Gravity is' --out run
  ulpscope report run --open

Exit status: 0 done, whatever was found; 1 an error; 2 wrong usage; 3 a --fail-on condition holds; 4 undecided: not
all could be compared, or the reference is not finite. Of several, 1 for what could not be computed or kept, then 3,
then 4, then 1 for a stdout that can't be written.

HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean elsewhere.
NO_COLOR switches colour off. ULPSCOPE_CPU chooses the instructions that kernels use.

`ulpscope COMMAND --help` has examples; `ulpscope completions SHELL` completes all of this.";

pub(crate) const COMPARE: &str = "\
Examples:
  One checkpoint, loaded in two ways:
    ulpscope compare HuggingFaceTB/SmolLM2-135M --prompt 'Gravity is'
  Two checkpoints, one way:
    ulpscope compare ./checkpoint ./converted.gguf --a 'load(f32)'
  Three arms, pages and pictures:
    ulpscope compare ./checkpoint --arm 'truth=load(f64)' --out run
  Two kinds of attention, in one block:
    ulpscope compare ./checkpoint --a 'load(bf16)@eager' --b 'load(bf16)@sdpa' --sites 'model.layers.0.*'
  A check in CI, status 3 where it fails:
    ulpscope compare before after --out run --fail-on 'kl>1e-3' --fail-on 'top1_agreement<0.99'";

pub(crate) const EXPLAIN: &str = "\
Examples:
  Why do they differ?
    ulpscope explain HuggingFaceTB/SmolLM2-135M --prompt 'Gravity is' --out run
  On a long text, with a curve over positions:
    ulpscope explain ./checkpoint ./converted --text page.txt --truncate 2048
  Another engine's arithmetic:
    ulpscope explain ./checkpoint --b 'load(bf16)@norm=fused@rope=interleaved[3-5]'
  A check in CI that lets noise pass:
    ulpscope explain before after --fail-on 'causes_above_floor>0'";

pub(crate) const WEIGHTS: &str = "\
Examples:
  What did each recipe do to the tensors?
    ulpscope weights ./checkpoint --a 'load(bf16)' --b 'load(f32).half()'
  One tensor of two checkpoints:
    ulpscope weights before after --tensor model.layers.0.self_attn.q_proj.weight";

pub(crate) const TRACE: &str = "\
Examples:
  ulpscope trace ./checkpoint --prompt 'Gravity is' --out ours.safetensors
  ulpscope trace ./checkpoint --ids 1,17,250 --sites 'model.layers.0.*,lm_head' --out few.safetensors";

pub(crate) const DIFF: &str = "\
Examples:
  Where do they part, beyond what an order of summation makes?
    ulpscope diff ours.safetensors pytorch.safetensors
  Every site:
    ulpscope diff ours.safetensors pytorch.safetensors --all
  As JSON, of some sites:
    ulpscope diff ours.safetensors pytorch.safetensors --sites '*.q_proj' --json";

pub(crate) const PLOT: &str = "\
Examples:
  ulpscope plot run --layer 3
  ulpscope plot run --prompt 1 --svg --out pictures";

pub(crate) const REPORT: &str = "\
Examples:
  ulpscope report run --open
  ulpscope report before/run after/run --out pages";

pub(crate) const SITES: &str = "\
Examples:
  ulpscope sites ./checkpoint
  ulpscope sites ./checkpoint --attention eager --json";

pub(crate) const ORDER: &str = "\
Examples:
  ulpscope order
  ulpscope order --kernel device --dtype f32 -k 2048";

pub(crate) const BENCH: &str = "\
Examples:
  ulpscope bench ./checkpoint --tokens 3 --tokens 64
  ulpscope bench ./checkpoint --b 'load(f32).to(bf16)' --prompts 16

`cargo xtask bench` in a checkout compares it with PyTorch's.";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  ulpscope completions bash > ~/.local/share/bash-completion/completions/ulpscope
  ulpscope completions zsh > ~/.zfunc/_ulpscope
  ulpscope completions fish > ~/.config/fish/completions/ulpscope.fish
  ulpscope completions powershell >> $PROFILE";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::args::Args;

    /// Words as a shell takes them; of quotes only `'`, and nothing behind `>`.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.trim().chars() {
            match c {
                '\'' => quoted = !quoted,
                '>' if !quoted => break,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_example_is_a_command() {
        let command = Args::command();
        let mut tried = 0;
        for help in std::iter::once(&command).chain(command.get_subcommands()) {
            let Some(help) = help.get_after_long_help() else { continue };
            for line in help.to_string().lines().filter(|line| line.trim().starts_with("ulpscope ")) {
                if let Err(error) = Args::try_parse_from(words(line)) {
                    panic!("{line}\n{error}");
                }
                tried += 1;
            }
        }
        assert!(tried > 20, "{tried} examples");
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        Args::command().debug_assert();
    }
}
