// Tables: the page's own become sortable, and long lists are made here, a page at a time.

// Cells are compared as numbers where both begin with one.
function compare(a, b) {
  const of = (text) => {
    const found = /^[<>]?(-?(?:\d[\d.]*(?:e-?\d+)?|inf|NaN))/.exec(text.trim());
    return found ? Number(found[1].replace('inf', 'Infinity')) : null;
  };
  const [x, y] = [of(a), of(b)];
  if (x !== null && y !== null) {
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    return x - y;
  }
  return a.localeCompare(b);
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = el('button', { type: 'button' }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') === 'descending';
      heads.forEach((other) => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => compare(a.cells[column].textContent, b.cells[column].textContent));
      body.append(...(up ? rows : rows.reverse()));
    });
  });
}

// A list of rows, each an array of texts, with a filter and pages. `open` is called with a row that is chosen.
function listing(into, heads, rows, open) {
  const PAGE = 100;
  let page = 0, wanted = '', column = -1, up = false;
  const body = el('tbody');
  const state = el('span', { role: 'status', class: 'soft' });
  const head = heads.map((name, index) => el('th', { scope: 'col', class: name.startsWith('#') ? 'n' : null },
    el('button', { type: 'button', onclick: () => { up = column === index && !up; column = index; page = 0; draw(); } },
      name.replace(/^#/, ''))));
  function draw() {
    let found = rows.filter((row) => row[0].toLowerCase().includes(wanted));
    if (column >= 0) {
      found = [...found].sort((a, b) => compare(a[column], b[column]) * (up ? 1 : -1));
    }
    head.forEach((cell, index) => index === column
      ? cell.setAttribute('aria-sort', up ? 'ascending' : 'descending') : cell.removeAttribute('aria-sort'));
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(page, pages - 1);
    body.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((row) => el('tr', {}, row.map((cell, index) => {
      const name = index === 0 && open ? el('button', { type: 'button', onclick: () => open(cell) }, cell) : cell;
      return index === 0 ? el('th', { scope: 'row' }, el('code', {}, name))
        : el('td', { class: heads[index].startsWith('#') ? 'n' : null }, cell);
    }))));
    state.textContent = `${found.length} of ${rows.length}, page ${page + 1} of ${pages}`;
  }
  const turn = (by) => () => { page = Math.max(0, page + by); draw(); };
  into.replaceChildren(
    el('div', { class: 'tools' },
      el('label', {}, 'Filter ', el('input', { type: 'search', oninput: (event) => {
        wanted = event.target.value.toLowerCase(); page = 0; draw();
      } })),
      el('button', { type: 'button', onclick: turn(-1) }, 'Previous'),
      el('button', { type: 'button', onclick: turn(1) }, 'Next'), state),
    el('div', { class: 'wide', tabindex: '0' }, el('table', {}, el('thead', {}, el('tr', {}, head)), body)));
  draw();
}
