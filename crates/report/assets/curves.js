// Divergence by layer, for every arm, and by position, for the one that is chosen.

function drawLayers(into, prompt) {
  const series = [];
  DATA.runs.filter((run) => run.prompt === prompt).forEach((run, index) => {
    const blocks = run.sites.filter((site) => site[BLOCK] !== null);
    const points = (field) => blocks.map((site) => [site[BLOCK], Number(site[OWN][field])]);
    const name = DATA.arms[run.arm].name;
    if (!blocks.length) return;
    series.push({ name: `${name} mean`, style: `s${index % 6}`, points: points(1) });
    series.push({ name: `${name} max`, style: `s${index % 6}`, dashed: true, points: points(2) });
  });
  if (!series.length) { into.replaceChildren(el('p', {}, 'No block was compared on this prompt.')); return; }
  chart(into, { label: 'Divergence by layer', series, xTitle: 'layer', yTitle: '|Δ| of block outputs', xText: (at) => `layer ${at}` });
}

function drawPositions(into, run) {
  const logits = run.logits;
  if (!logits || !logits.positions) { into.replaceChildren(el('p', {}, 'No logits were compared on this prompt.')); return; }
  const { step } = logits;
  const points = (values) => values.map((value, index) => [index * step, Number(value)]);
  // Where there are means of ranges they are what tells signal from noise, and single positions would hide them.
  const ranges = run.growth.length > 1;
  const series = [{ name: step > 1 ? `KL, mean of ${step} positions` : 'KL', style: 's0', points: points(logits.kl), thin: logits.kl.length > 200, hidden: ranges }];
  const sized = run.growth.filter(([, , , , , size]) => !Number.isNaN(Number(size)));
  if (sized.length) {
    series.push({ name: 'the cause alone', style: 's2', dashed: true, hidden: ranges,
      ranges: sized.map(([from, to, , , , size]) => [from, to, Number(size)]) });
  }
  if (ranges) {
    series.splice(1, 0, { name: 'KL, mean of a range', style: 's1',
      ranges: run.growth.map(([from, to, kl]) => [from, to, Number(kl)]) });
  }
  const bands = run.growth.filter(([, , , mean]) => Number(mean) > 0).map(([from, to, , mean, sd]) => {
    const spread = Number.isFinite(Number(sd)) ? 2 * Number(sd) : 0;
    return { from, to, low: Number(mean) - spread, middle: Number(mean), high: Number(mean) + spread };
  });
  const marks = [];
  const e = DATA.explained;
  if (e && e.arm === run.arm && e.onsetPrompt === run.prompt) {
    if (e.onset !== null) marks.push({ x: e.onset, text: `leaves the floor at ${e.onset}` });
    if (e.expected !== null) marks.push({ x: e.expected, text: `fitted size reaches 3 sd of the floor at ${e.expected}`, theory: true });
  }
  chart(into, { label: 'KL by position', series, bands, marks, xTitle: 'token position', yTitle: 'KL (nats)', xText: (at) => `position ${at}`, height: 360 });
}
