// What is known of one site.

function drawSite(into, run, name) {
  const site = run.sites.find((one) => nameOf(one) === name);
  if (!site) { into.hidden = true; return; }
  const [own, fresh, floor, origin] = [site[OWN], site[NEW], site[FLOOR], site[ORIGIN]];
  const row = (label, value) => [el('dt', {}, label), el('dd', {}, value)];
  const nonfinite = site[NONFINITE];
  const upstream = run.sites.slice(0, run.sites.indexOf(site)).filter((one) => one[ORIGIN]).map(nameOf);
  const says = origin ? `An origin: ${origin.differing[0]} of ${origin.differing[1]} elements differ on equal inputs, ${number(origin.expected)} would be expected of the order of summation.`
    : Number(fresh[0]) === 1 ? 'It adds nothing: given the reference\'s inputs, it gives the reference\'s bits.'
    : floor ? 'What it adds is within the noise of the arithmetic.' : 'It adds a difference of its own.';
  into.replaceChildren();
  fill(into, {}, [
    el('div', { class: 'tools' }, el('h3', {}, el('code', {}, name)), el('span', { class: 'push' }),
      el('button', { type: 'button', onclick: () => { into.hidden = true; const map = document.querySelector('#map-chart svg[tabindex]'); if (map) map.focus(); } }, 'Close')),
    el('p', {}, `${DATA.arms[run.arm].label}, prompt ${run.prompt}, shape ${site[SHAPE].join(' × ')}. `, says,
      upstream.length && !origin ? ` Origins upstream: ${upstream.slice(0, 3).join(', ')}${upstream.length > 3 ? ', …' : ''}.` : ''),
    el('div', { class: 'columns' },
      el('div', {}, el('h3', {}, 'Adds itself'), el('dl', { class: 'facts' },
        row('bit-equal', percent(fresh[0])), row('mean |Δ|', number(fresh[1])), row('max |Δ|', number(fresh[2])), row('rms', number(fresh[3])),
        floor ? row('noise, share', percent(floor[0])) : null,
        floor ? row('noise, mean |Δ|', `${number(floor[1])}, largest ${number(floor[2])}`) : null,
        origin ? row('rms / noise', number(origin.rms)) : null, origin ? row('p', number(origin.p)) : null,
        origin && origin.cause ? row('cause', origin.cause) : null)),
      el('div', {}, el('h3', {}, 'Carried along'), el('dl', { class: 'facts' },
        row('bit-equal', percent(own[0])), row('mean |Δ|', number(own[1])), row('max |Δ|', number(own[2])), row('rms', number(own[3])),
        row('cosine', number(own[4])), row('signal to noise', `${number(own[5])} dB`), row('not finite', `${nonfinite[0]}, ${nonfinite[1]}`)))),
    site[DETAIL] ? drawDetail(site[DETAIL]) : el('p', { class: 'note' },
      'Elements and channels are recorded at the first sites that introduce something, and at the outputs of blocks.'),
    site[TOKENS].length ? [el('h3', {}, 'By token'), el('div', { class: 'chart' })] : null,
  ]);
  into.hidden = false;
  if (site[TOKENS].length) {
    chart(into.lastChild, { label: `${name} by token`, height: 200, xTitle: 'token position', yTitle: 'mean |Δ|', xText: (at) => `position ${at}`,
      series: [{ name: 'mean |Δ|', style: 's0', points: site[TOKENS].map((value, at) => [at, Number(value)]) }] });
  }
}

// Distribution, channels, and the first elements that differ, with their bits.
function drawDetail(detail) {
  const most = Math.max(1, ...detail.counts), high = 70, wide = 18;
  const names = [DATA.arms[0].name, DATA.arms[DATA.runs[state.run].arm].name];
  const bars = detail.counts.map((count, index) => [
    svg('rect', { class: 's0', x: index * wide + 2, y: 14 + high * (1 - count / most), width: wide - 4, height: high * count / most + 1 },
      svg('title', {}, `2^${detail.lowest + index}: ${plural(count, 'element')}`)),
    index % 3 === 0 ? svg('text', { class: 'soft', x: index * wide + wide / 2, y: high + 32, 'text-anchor': 'middle' }, detail.lowest + index) : null]);
  const width = Math.max(detail.counts.length * wide + 20, 120);
  const table = (caption, heads, rows) => rows.length ? el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': caption }, el('table', {}, el('caption', {}, caption),
    el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col', class: 'n' }, head)))),
    el('tbody', {}, rows.map((row) => el('tr', {}, row.map((cell) => el('td', { class: 'n' }, cell))))))) : null;
  const channels = (list) => list.map(([index, mean, largest]) => [index, number(mean), number(largest)]);
  return [
    el('h3', {}, detail.introduced ? 'What it adds, closely' : 'What it carries, closely'),
    el('div', { class: 'columns' },
      detail.counts.length ? el('div', {}, el('p', { class: 'soft' }, 'Elements by the power of two of |Δ|'),
        el('div', { class: 'scroll chart' }, svg('svg', { width, height: high + 38, role: 'img', 'aria-label':
          `Differences from 2^${detail.lowest} to 2^${detail.lowest + detail.counts.length - 1}, most often 2^${detail.lowest + detail.counts.indexOf(most)}` }, bars))) : null,
      el('div', {}, table('Channels that differ most', ['channel', 'mean |Δ|', 'largest |a|'], channels(detail.channels)),
        table('Massive activations', ['channel', 'mean |Δ|', 'largest |a|'], channels(detail.massive)))),
    table('First elements that differ', ['index', names[0], names[1], `bits ${names[0]}`, `bits ${names[1]}`],
      detail.elements.map((one) => [`[${one.index.join(', ')}]`, ...one.values, ...one.bits.map((bits) => el('code', {}, bits))])),
  ];
}
