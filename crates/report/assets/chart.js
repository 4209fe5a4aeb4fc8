// A chart of lines over a logarithmic axis, with zoom, a cursor, and bands.
//
// series: { name, points: [[x, y]] or ranges: [[from, to, y]], style, dashed, thin, hidden }; bands: { from, to, low, middle, high }; marks: { x, text, theory }.

let clips = 0;

function chart(into, { label, series, bands = [], marks = [], xTitle, yTitle, xText = String, height = 320 }) {
  for (const one of series) {
    if (one.ranges) one.points = one.ranges.flatMap(([a, b, y]) => b - a > 1 ? [[a, y], [b - 1, y]] : [[a, y]]);
  }
  const valueAt = (one, at) => (one.ranges ? one.ranges.find(([a, b]) => at >= a && at < b) : one.points.find(([x]) => x === at))?.at(-1);
  const all = series.flatMap((one) => one.points.map(([x]) => x)).concat(bands.flatMap((band) => [band.from, band.to]));
  if (all.length === 0) { into.replaceChildren(el('p', {}, 'There is nothing to draw.')); return; }
  const [first, last] = [Math.min(...all), Math.max(...all)];
  let [from, to] = [first, Math.max(last, first + 1)];
  let logarithmic = false;
  let cursor = null;
  const clipId = `clip-${(clips += 1)}`;
  const readout = el('p', { class: 'readout', 'aria-live': 'polite' });
  const place = el('div');
  const xs = [...new Set(series.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);

  // With a neighbour to each side, so that lines go on to the edge.
  const shownOf = (one) => {
    if (one.hidden) return [];
    const begin = one.points.findIndex(([x]) => x >= from), end = one.points.findLastIndex(([x]) => x <= to);
    return one.points.slice(Math.max(0, begin < 0 ? one.points.length - 1 : begin - 1), end + 2);
  };
  const inside = (x) => x >= from && x <= to;
  function draw() {
    const width = Math.max(280, into.clientWidth);
    const [left, right, top, bottom] = [62, width - 20, marks.length ? 34 : 12, height - 44];
    const values = series.flatMap((one) => shownOf(one).map(([, y]) => y))
      .concat(bands.filter((band) => band.to > from && band.from < to).flatMap((band) => [band.low, band.high]).filter((y) => y > 0));
    const scale = decades(values, true);
    const floor = bottom - (scale.zeros ? 26 : 0), ceiling = top + (scale.wild ? 26 : 0);
    const y = (value) => !Number.isFinite(value) ? top + 10
      : value <= 0 ? bottom - 10 : floor - Math.min(1, Math.max(0, scale.share(value))) * (floor - ceiling);
    const bend = (x) => logarithmic ? Math.log(x - first + 1) : x;
    const x = (value) => left + (bend(value) - bend(from)) / (bend(to) - bend(from)) * (right - left);
    const back = (pixel) => {
      const at = bend(from) + (pixel - left) / (right - left) * (bend(to) - bend(from));
      return logarithmic ? Math.exp(at) - 1 + first : at;
    };
    const parts = [svg('clipPath', { id: clipId }, svg('rect', { x: left, y: 0, width: right - left, height }))];
    const clip = (value) => Math.min(to, Math.max(from, value));
    for (const band of bands) {
      if (band.to <= from || band.from >= to || !(band.high > 0)) continue;
      const [a, b] = [x(clip(band.from)), x(clip(band.to))];
      const [low, high] = [band.low > 0 ? y(band.low) : floor, y(band.high)];
      parts.push(svg('rect', { class: 'band', x: a, y: high, width: Math.max(1, b - a), height: Math.max(1, low - high) }));
      if (band.middle > 0) parts.push(svg('line', { class: 'band-line', x1: a, x2: b, y1: y(band.middle), y2: y(band.middle) }));
    }
    for (const exponent of scale.ticks || whole(scale.low, scale.high, (floor - ceiling) / 34)) {
      const at = y(10 ** exponent);
      parts.push(svg('line', { class: 'grid', x1: left, x2: right, y1: at, y2: at }),
        svg('text', { x: left - 6, y: at + 4, 'text-anchor': 'end' }, power(exponent)));
    }
    if (scale.zeros) parts.push(svg('line', { class: 'strip', x1: left, x2: right, y1: floor, y2: floor }),
      svg('text', { x: left - 6, y: bottom - 6, 'text-anchor': 'end' }, '0'));
    if (scale.wild) parts.push(svg('line', { class: 'strip', x1: left, x2: right, y1: ceiling, y2: ceiling }),
      svg('text', { x: left - 6, y: top + 14, 'text-anchor': 'end' }, 'NaN, inf'));
    for (const at of ticks(from, to, Math.max(2, (right - left) / 70), logarithmic, first)) {
      parts.push(svg('line', { class: 'axis', x1: x(at), x2: x(at), y1: bottom, y2: bottom + 4 }),
        svg('text', { x: x(at), y: bottom + 18, 'text-anchor': 'middle' }, at));
    }
    parts.push(svg('path', { class: 'axis', d: `M${left} ${top}V${bottom}H${right}` }),
      svg('text', { class: 'soft', x: (left + right) / 2, y: height - 6, 'text-anchor': 'middle' }, xTitle),
      svg('text', { class: 'soft', transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, yTitle));
    series.forEach((one) => {
      const points = shownOf(one);
      let line = [];
      const flush = () => {
        if (line.length > 1) parts.push(svg('path', { 'clip-path': `url(#${clipId})`, class: `line ${one.style}${one.dashed ? ' dashed' : ''}${one.thin ? ' thin' : ''}`, d: 'M' + line.join('L') }));
        line = [];
      };
      for (const [at, value] of points) {
        const plain = Number.isFinite(value) && value > 0;
        if (plain) line.push(`${x(at).toFixed(1)} ${y(value).toFixed(1)}`);
        else flush();
        if (inside(at) && !one.ranges && (points.length <= 120 || !plain)) {
          const spot = { class: `${one.style}${plain ? '' : ' ring'}`, cx: x(at), cy: y(value), r: plain ? 3 : 3.5 };
          if (Number.isFinite(value)) parts.push(svg('circle', spot));
          else parts.push(svg('path', { class: `${one.style} cross`, d: `M${x(at) - 4} ${y(value) - 4}l8 8m0-8l-8 8` }));
        }
      }
      flush();
    });
    marks.filter((mark) => mark.x >= from && mark.x <= to).forEach((mark, index) => {
      const at = x(mark.x), early = at > (left + right) / 2;
      parts.push(svg('line', { class: `onset${mark.theory ? ' theory' : ''}`, x1: at, x2: at, y1: 6 + 14 * index, y2: bottom }),
        svg('text', { x: at + (early ? -6 : 6), y: 12 + 14 * index, 'text-anchor': early ? 'end' : 'start' }, mark.text));
    });
    const rule = svg('line', { class: 'cursor', y1: top, y2: bottom, visibility: 'hidden' });
    const brush = svg('rect', { class: 'picked', y: top, height: bottom - top, visibility: 'hidden' });
    const picture = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: '0', role: 'application',
      'aria-label': `${label}. Left and right move the cursor, plus and minus zoom, 0 shows all.` }, parts, brush, rule);
    const pixel = (event) => {
      const box = picture.getBoundingClientRect();
      return (event.clientX - box.left) / box.width * width;
    };
    const point = (at) => {
      cursor = at;
      if (at === null) { rule.setAttribute('visibility', 'hidden'); readout.textContent = hint; return; }
      rule.setAttribute('x1', x(at)); rule.setAttribute('x2', x(at)); rule.setAttribute('visibility', 'visible');
      const found = series.filter((one) => !one.hidden).map((one) => [one.name, valueAt(one, at)]).filter(([, value]) => value !== undefined);
      const band = bands.find((one) => at >= one.from && at < one.to);
      readout.textContent = [xText(at), ...found.map(([name, value]) => `${name} ${number(value)}`),
        band ? `floor ${number(band.middle)} (${number(Math.max(0, band.low))} to ${number(band.high)})` : null].filter(Boolean).join(' · ');
    };
    const nearest = (value) => {
      return xs.filter(inside).reduce((best, at) => best === null || Math.abs(bend(at) - bend(value)) < Math.abs(bend(best) - bend(value)) ? at : best, null);
    };
    let start = null;
    picture.addEventListener('pointerdown', (event) => { if (event.pointerType === 'mouse') start = pixel(event); });
    picture.addEventListener('pointermove', (event) => {
      const at = Math.min(right, Math.max(left, pixel(event)));
      point(nearest(back(at)));
      if (start !== null && Math.abs(at - start) > 4) {
        brush.setAttribute('visibility', 'visible');
        brush.setAttribute('x', Math.min(at, start)); brush.setAttribute('width', Math.abs(at - start));
      }
    });
    const release = (event) => {
      const begun = start;
      start = null;
      if (begun === null) return;
      const [a, b] = [begun, Math.min(right, Math.max(left, pixel(event)))].sort((p, q) => p - q);
      if (b - a > 8) zoom(back(Math.max(left, a)), back(b));
    };
    picture.addEventListener('pointerup', release);
    picture.addEventListener('pointerleave', () => { start = null; brush.setAttribute('visibility', 'hidden'); });
    picture.addEventListener('dblclick', () => zoom(first, last));
    picture.addEventListener('keydown', (event) => {
      const near = xs.filter(inside);
      const at = near.indexOf(cursor);
      const step = event.shiftKey ? 10 : 1;
      const go = { ArrowRight: at + step, ArrowLeft: at < 0 ? near.length - 1 : at - step, Home: 0, End: near.length - 1 }[event.key];
      if (go !== undefined) point(near[Math.min(near.length - 1, Math.max(0, go))]);
      else if (event.key === '+' || event.key === '=') closer(0.5);
      else if (event.key === '-') closer(2);
      else if (event.key === '0') zoom(first, last);
      else if (event.key === 'Escape') point(null);
      else return;
      event.preventDefault();
    });
    const focused = place.contains(document.activeElement);
    place.replaceChildren(picture);
    if (focused) picture.focus();
    point(cursor !== null && cursor >= from && cursor <= to ? cursor : null);
  }
  const hint = 'Point at the chart, or focus it and use the arrow keys. Drag to zoom.';
  function zoom(a, b) {
    if (!(b > a)) return;
    [from, to] = [Math.max(first, a), Math.min(Math.max(last, first + 1), b)];
    draw();
  }
  function closer(factor) {
    const middle = cursor !== null && cursor >= from && cursor <= to ? cursor : (from + to) / 2;
    const half = Math.max((to - from) * factor / 2, 0.5);
    zoom(middle - half, middle + half);
  }
  // A series is shown or hidden by its entry in the legend: what is left gets the whole axis.
  const entry = (one) => {
    const press = el('button', { type: 'button', 'aria-pressed': String(!one.hidden), class: 'entry', onclick: () => {
      one.hidden = !one.hidden;
      press.setAttribute('aria-pressed', String(!one.hidden));
      draw();
    } }, svg('svg', { width: 26, height: 10, 'aria-hidden': 'true' },
      svg('path', { class: `line ${one.style}${one.dashed ? ' dashed' : ''}`, d: 'M0 5H26' })), ' ', one.name);
    return press;
  };
  const legend = el('div', { class: 'legend' }, series.map(entry),
    bands.length ? el('span', {}, svg('svg', { width: 18, height: 12, 'aria-hidden': 'true' },
      svg('rect', { class: 'band', width: 18, height: 12 })), 'noise floor') : null);
  const button = (text, act, more) => el('button', { type: 'button', onclick: act, ...more }, text);
  const bent = button('Logarithmic', () => {
    logarithmic = !logarithmic;
    bent.setAttribute('aria-pressed', String(logarithmic));
    draw();
  }, { 'aria-pressed': 'false' });
  into.replaceChildren(
    el('div', { class: 'tools' }, legend, el('span', { class: 'push' }), xs.length > 40 ? bent : null,
      button('+', () => closer(0.5), { 'aria-label': `${label}: zoom in` }),
      button('−', () => closer(2), { 'aria-label': `${label}: zoom out` }),
      button('All', () => zoom(first, last), { 'aria-label': `${label}: show all` })),
    place, readout);
  draw();
  return draw;
}

// Exponents at round distances, for at most so many labels.
function whole(low, high, room) {
  const every = Math.ceil((high - low) / Math.max(2, room));
  return Array.from({ length: high - low + 1 }, (_, index) => low + index).filter((exponent) => exponent % every === 0);
}

// Whole numbers at round distances, or at powers of two where the axis is bent.
function ticks(from, to, room, logarithmic, first) {
  const found = [];
  if (logarithmic) {
    for (let at = first; at <= to; at = Math.max(1, at * 2)) if (at >= from) found.push(at);
    const every = Math.ceil(found.length / room);
    return found.filter((_, index) => (found.length - 1 - index) % every === 0);
  }
  const rough = Math.max(1, (to - from) / room), unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough) || rough;
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(Math.round(at));
  return [...new Set(found)];
}
