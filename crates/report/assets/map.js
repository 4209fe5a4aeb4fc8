// The map of the network: a cell for every site, layers across, operations down, what lies outside in strips.

// Fields of a site in the data, in the order in which it has them.
const [NAME, SHAPE, OWN, NEW, NONFINITE, TOKENS, FLOOR, ORIGIN, BLOCK, DETAIL] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const nameOf = (site) => DATA.names[site[NAME]];

// How a cell is to look: by what it introduces or by what has accumulated.
function kind(site, introduced, explained) {
  const value = Number(introduced ? site[NEW][1] : site[OWN][1]);
  // Next to what is no number nothing is equal; scores are minus infinity where they are masked.
  const blind = site[NONFINITE][0] > 0 && !nameOf(site).endsWith('.scores');
  if (blind || !Number.isFinite(value)) return { value, wild: true };
  if (value <= 0) return { value, zero: true };
  return { value, quiet: introduced && explained && !site[ORIGIN] };
}

function drawMap(into, run, state) {
  if (!run.sites.length) { into.replaceChildren(el('p', {}, 'No site was compared on this prompt.')); return; }
  const explained = DATA.explained && DATA.explained.arm === run.arm;
  const introduced = state.show === 'introduced';
  const cells = [], rows = [];
  const outside = [[], []];
  let layers = 0;
  for (const site of run.sites) {
    const inside = withinBlock(nameOf(site));
    if (!inside) { outside[layers > 0 ? 1 : 0].push(site); continue; }
    if (!rows.includes(inside.row)) rows.push(inside.row);
    layers = Math.max(layers, inside.layer + 1);
    cells.push({ site, row: rows.indexOf(inside.row), layer: inside.layer });
  }
  const loud = run.sites.map((site) => kind(site, introduced, explained)).filter((cell) => !cell.zero && !cell.wild).map((cell) => cell.value);
  const scale = decades(loud);
  const room = Math.max(300, into.clientWidth);
  const left = Math.min(190, room * 0.42);
  const size = Math.max(14, Math.min(34, (room - left - 8) / Math.max(1, layers)));
  const high = 20, strip = 40;
  const width = Math.max(left + layers * size + 8, Math.min(room, 600));
  const parts = [], spots = [];
  let y = 4;

  const face = (site, x, top, w, h) => {
    const look = kind(site, introduced, explained);
    const fill = look.zero || look.wild ? null : shade(scale.share(look.value));
    const cell = svg('rect', { class: `cell${look.zero ? ' quiet' : look.wild ? ' wild' : ''}`, x, y: top, width: w, height: h, rx: 2, fill,
      opacity: look.quiet ? 0.3 : null });
    parts.push(cell);
    if (look.quiet) parts.push(svg('path', { class: 'hatch', d: `M${x + 2} ${top + h - 2}L${x + w - 2} ${top + 2}` }));
    spots.push({ site, x, y: top, w, h, cell });
    return look;
  };
  const origins = run.sites.filter((site) => site[ORIGIN]);
  const start = origins.length ? origins[0] : run.sites.find((site) => nameOf(site) === run.first);
  const flag = (spot) => {
    const first = spot.site === start;
    if (!first && !spot.site[ORIGIN]) return;
    const [cx, cy, r] = [spot.x + spot.w / 2, spot.y + spot.h / 2, first ? 8 : 5];
    if (first) parts.push(svg('rect', { class: 'origin-frame', x: spot.x - 2, y: spot.y - 2, width: spot.w + 4, height: spot.h + 4, rx: 4 }));
    const at = spot.w > 60 ? spot.x + 12 : cx;
    parts.push(svg('path', { class: 'origin', d: `M${at} ${cy - r}L${at + r} ${cy}L${at} ${cy + r}L${at - r} ${cy}Z` }));
  };
  // A few sites that belong to no block: each has room for its name and its value.
  const band = (sites) => {
    if (!sites.length) return;
    const columns = Math.max(1, Math.min(sites.length, Math.floor((Math.min(width, room) - 8) / 150)));
    const w = (Math.min(width, room) - 8) / columns;
    sites.forEach((site, index) => {
      const x = 4 + (index % columns) * w, top = y + Math.floor(index / columns) * (strip + 22);
      const look = face(site, x, top + 16, w - 6, strip - 16);
      const first = site === start;
      parts.push(svg('text', { x, y: top + 11, class: first ? 'origin-text' : null },
        fit((first ? (origins.length ? 'first origin: ' : 'first to differ: ') : '') + nameOf(site).replace(/^model\./, ''), w)));
      parts.push(svg('text', { x: x + w - 12, y: top + 33, 'text-anchor': 'end', class: `strong${look.zero || look.quiet ? '' : ink(scale, look)}` }, number(look.value)));
    });
    y += Math.ceil(sites.length / columns) * (strip + 22);
  };
  band(outside[0]);
  if (layers) {
    y += 4;
    const top = y;
    rows.forEach((row, index) => parts.push(svg('text', { x: left - 8, y: top + index * high + 14, 'text-anchor': 'end' }, fit(row, left - 12))));
    for (const { site, row, layer } of cells) face(site, left + layer * size, top + row * high, size, high);
    y += rows.length * high;
    const every = Math.ceil(layers / Math.max(1, layers * size / 34));
    for (let layer = 0; layer < layers; layer += every) {
      parts.push(svg('text', { class: 'soft', x: left + (layer + 0.5) * size, y: y + 15, 'text-anchor': 'middle' }, layer));
    }
    parts.push(svg('text', { class: 'soft', x: left - 8, y: y + 15, 'text-anchor': 'end' }, 'layer'));
    y += 28;
  }
  band(outside[1]);
  spots.forEach(flag);
  const here = svg('rect', { class: 'here', visibility: 'hidden', rx: 3 });
  const readout = el('p', { class: 'readout', 'aria-live': 'polite' }, 'Point at a cell, or focus the map and use the arrow keys; Enter opens a site.');
  const picture = svg('svg', { width, height: y + 4, viewBox: `0 0 ${width} ${y + 4}`, tabindex: '0', role: 'application',
    'aria-label': `Map of ${run.sites.length} sites by ${state.show} divergence. Arrow keys move, Enter opens a site.` }, parts, here);
  let at = -1;
  const go = (index) => {
    at = index;
    if (at < 0) { here.setAttribute('visibility', 'hidden'); return; }
    const spot = spots[at];
    for (const [name, value] of [['x', spot.x], ['y', spot.y], ['width', spot.w], ['height', spot.h], ['visibility', 'visible']]) here.setAttribute(name, value);
    const site = spot.site;
    readout.textContent = [nameOf(site), `adds ${number(site[NEW][1])}, in ${percent(1 - site[NEW][0])} of elements`,
      `carries ${number(site[OWN][1])}, max ${number(site[OWN][2])}`,
      site[FLOOR] ? `noise ${number(site[FLOOR][1])}` : null, site[ORIGIN] ? 'an origin' : null].filter(Boolean).join(' · ');
  };
  const hit = (event) => spots.findIndex((spot) => spot.cell === event.target);
  picture.addEventListener('pointermove', (event) => { const index = hit(event); if (index >= 0) go(index); });
  picture.addEventListener('click', (event) => { const index = hit(event); if (index >= 0) state.open(nameOf(spots[index].site)); });
  picture.addEventListener('focus', () => { if (at < 0) go(Math.max(0, spots.findIndex((spot) => spot.site === start))); });
  picture.addEventListener('keydown', (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (way) go(next(spots, at, way));
    else if (event.key === 'Home') go(0);
    else if (event.key === 'End') go(spots.length - 1);
    else if ((event.key === 'Enter' || event.key === ' ') && at >= 0) state.open(nameOf(spots[at].site));
    else return;
    event.preventDefault();
  });
  const key = (className, text, more) => el('span', {}, svg('svg', { width: 18, height: 14, 'aria-hidden': 'true' }, svg('rect', { class: className, width: 18, height: 14, rx: 2, ...more })), text);
  into.replaceChildren(
    el('div', { class: 'tools' }, choice('What cells show', [['introduced', 'Adds itself'], ['accumulated', 'Carried along']], state.show,
      (show) => { state.show = show; drawMap(into, run, state); }), bar(scale, loud.length)),
    el('div', { class: 'scroll' }, picture), readout,
    el('div', { class: 'legend' }, key('quiet', 'exactly 0', { class: 'cell quiet' }),
      introduced && explained ? key('', 'within noise', { fill: shade(0.5), opacity: 0.3 }) : null,
      cells.length < rows.length * layers ? el('span', {}, 'empty: not compared') : null,
      loud.length < run.sites.length && run.sites.some((site) => kind(site, introduced, explained).wild) ? key('', 'NaN or inf', { class: 'cell wild' }) : null,
      el('span', {}, svg('svg', { width: 16, height: 16, 'aria-hidden': 'true' }, svg('path', { class: 'origin', d: 'M8 0L16 8L8 16L0 8Z' })),
        origins.length ? 'origin: adds more than noise' : 'first site that differs')));
}

// The class of white or black letters, whichever are easier to read on a cell.
function ink(scale, look) {
  const bright = dark() ? scale.share(look.value) : 1 - scale.share(look.value);
  return look.wild || bright > 0.55 ? ' black' : ' white';
}

// The neighbour of a cell in one direction: the nearest whose middle lies that way, sideways distance counting more.
function next(spots, at, [dx, dy]) {
  if (at < 0) return 0;
  const middle = (spot) => [spot.x + spot.w / 2, spot.y + spot.h / 2];
  const [x, y] = middle(spots[at]);
  let best = at, least = Infinity;
  spots.forEach((spot, index) => {
    const [u, v] = middle(spot);
    const along = (u - x) * dx + (v - y) * dy, aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
    const cost = along + 3 * aside;
    if (along > 1 && cost < least) { best = index; least = cost; }
  });
  return best;
}

function bar(scale, count) {
  if (!count) return el('span', { class: 'soft' }, 'no cell is above 0');
  const steps = 40, w = 160;
  return el('span', { class: 'legend' }, power(scale.low), svg('svg', { width: w, height: 12, 'aria-hidden': 'true' },
    Array.from({ length: steps }, (_, step) => svg('rect', { x: step * w / steps, width: w / steps + 0.5, height: 12, fill: shade((step + 0.5) / steps) }))),
    power(scale.high), el('small', {}, 'mean |Δ|'));
}

// A name cut to about so many pixels.
const fit = (text, room) => text.length * 6.6 > room ? '…' + text.slice(text.length - Math.floor(room / 6.6) + 1) : text;
