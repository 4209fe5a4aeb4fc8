// What is known of one site.

function drawSite(into, run, name) {
  const site = run.sites.find((one) => nameOf(one) === name);
  if (!site) { into.hidden = true; return; }
  const [own, fresh, floor, origin] = [site[OWN], site[NEW], site[FLOOR], site[ORIGIN]];
  const row = (label, value) => [el('dt', {}, label), el('dd', {}, value)];
  const nonfinite = site[NONFINITE];
  const upstream = run.sites.slice(0, run.sites.indexOf(site)).filter((one) => one[ORIGIN]).map(nameOf);
  const says = origin ? `An origin: ${origin.differing[0]} of ${origin.differing[1]} elements differ on equal inputs, ${number(origin.expected)} would be expected of the order of summation.`
    : Number(fresh[0]) === 1 ? 'It introduces nothing: fed the reference\'s inputs, it gives the reference\'s bits.'
    : floor ? 'What it introduces is within the noise of the arithmetic.' : 'It introduces a difference of its own.';
  into.replaceChildren();
  fill(into, {}, [
    el('div', { class: 'tools' }, el('h3', {}, el('code', {}, name)), el('span', { class: 'push' }),
      el('button', { type: 'button', onclick: () => { into.hidden = true; const map = document.querySelector('#map-chart svg[tabindex]'); if (map) map.focus(); } }, 'Close')),
    el('p', {}, `${DATA.arms[run.arm].label}, prompt ${run.prompt}, shape ${site[SHAPE].join(' × ')}. `, says,
      upstream.length && !origin ? ` Origins upstream: ${upstream.slice(0, 3).join(', ')}${upstream.length > 3 ? ', …' : ''}.` : ''),
    el('div', { class: 'columns' },
      el('div', {}, el('h3', {}, 'Introduced'), el('dl', { class: 'facts' },
        row('bit-equal', percent(fresh[0])), row('mean |Δ|', number(fresh[1])), row('max |Δ|', number(fresh[2])), row('rms', number(fresh[3])),
        floor ? row('floor, share', percent(floor[0])) : null,
        floor ? row('floor, mean |Δ|', `${number(floor[1])}, largest ${number(floor[2])}`) : null,
        origin ? row('rms / floor', number(origin.rms)) : null, origin ? row('p', number(origin.p)) : null,
        origin && origin.cause ? row('cause', origin.cause) : null)),
      el('div', {}, el('h3', {}, 'Accumulated'), el('dl', { class: 'facts' },
        row('bit-equal', percent(own[0])), row('mean |Δ|', number(own[1])), row('max |Δ|', number(own[2])), row('rms', number(own[3])),
        row('cosine', number(own[4])), row('signal to noise', `${number(own[5])} dB`), row('not finite', `${nonfinite[0]}, ${nonfinite[1]}`)))),
    site[TOKENS].length ? [el('h3', {}, 'By token'), el('div', { class: 'chart' })] : null,
  ]);
  into.hidden = false;
  if (site[TOKENS].length) {
    chart(into.lastChild, { label: `${name} by token`, height: 200, xTitle: 'token position', yTitle: 'mean |Δ|', xText: (at) => `position ${at}`,
      series: [{ name: 'mean |Δ|', style: 's0', points: site[TOKENS].map((value, at) => [at, Number(value)]) }] });
  }
}
