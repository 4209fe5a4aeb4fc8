// The most likely tokens of both arms, position by position.

function drawTokens(into, run) {
  const logits = run.logits;
  if (!logits || !logits.listed.length) { into.replaceChildren(el('p', {}, 'No logits were compared on this prompt.')); return; }
  const names = [DATA.arms[0].name, DATA.arms[run.arm].name];
  const table = el('div', { 'aria-live': 'polite' });
  const flips = logits.listed.filter((at) => at.top1[0] !== at.top1[1]).length;
  const all = logits.flips.reduce((sum, count) => sum + count, 0);
  const chips = logits.listed.map((at) => {
    const flip = at.top1[0] !== at.top1[1];
    return el('button', { type: 'button', class: flip ? 'flip' : null, 'aria-pressed': 'false',
      'aria-label': `position ${at.at}${at.token === null ? '' : `, ${at.token}`}, KL ${number(at.kl)}${flip ? ', flips' : ''}`, onclick: () => pick(at) },
      el('small', {}, `${at.at} `), at.token === null ? '' : shown(at.token), flip ? ' ⚑' : '');
  });
  const word = (id) => el('span', {}, el('span', { class: 'token' }, tokenText(id)), ' ', el('small', {}, id));
  function pick(at) {
    chips.forEach((chip, index) => chip.setAttribute('aria-pressed', String(logits.listed[index] === at)));
    const flip = at.top1[0] !== at.top1[1];
    const facts = el('p', { class: 'readout' }, `Position ${at.at}`, at.token === null ? '' : [' after ', el('span', { class: 'token' }, shown(at.token))],
      ` · KL ${number(at.kl)} · bit-equal ${percent(at.equal)} · max |Δ| ${number(at.max)} · margin ${names[0]} ${number(at.margin[0])}, ${names[1]} ${number(at.margin[1])}`,
      Number.isNaN(Number(at.nll[0])) ? '' : ` · nll ${number(at.nll[0])}, ${number(at.nll[1])}`, ' · ',
      flip ? el('span', { class: 'flip-text' }, 'the most likely token flips') : 'same most likely token');
    const count = Math.max(at.top[0].length, at.top[1].length);
    if (!count) {
      table.replaceChildren(facts, el('p', {}, `Most likely: ${names[0]} `, word(at.top1[0]), `, ${names[1]} `, word(at.top1[1])));
      return;
    }
    const rank = (side, id) => at.top[side].findIndex((one) => one[0] === id);
    const cells = (side, index) => {
      const one = at.top[side][index];
      if (!one) return [el('td'), el('td'), el('td')];
      const other = rank(1 - side, one[0]);
      const moved = other !== index;
      const share = Math.max(0, Math.min(1, Number(one[2]))) || 0;
      return [
        el('td', { class: moved ? 'moved' : null }, word(one[0]), moved ? el('small', {}, other < 0 ? ` not in the other's top ${count}` : ` the other's ${other + 1}`) : ''),
        el('td', { class: 'n' }, number(one[1])),
        el('td', { class: 'n' }, svg('svg', { class: 'p', viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
          svg('rect', { class: side ? 's1' : 's0', width: share * 100, height: 10 })), ' ', percent(one[2])),
      ];
    };
    const rows = Array.from({ length: count }, (_, index) => el('tr', {}, el('th', { scope: 'row', class: 'n' }, index + 1), cells(0, index), cells(1, index)));
    table.replaceChildren(facts, el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Most likely tokens' }, el('table', {},
      el('caption', {}, 'Most likely tokens; marked where the two disagree about the place'),
      el('thead', {}, el('tr', {}, el('th', { scope: 'col', class: 'n' }, '#'), names.flatMap((name) => [
        el('th', { scope: 'col' }, name), el('th', { scope: 'col', class: 'n' }, 'logit'), el('th', { scope: 'col', class: 'n' }, 'probability')]))),
      el('tbody', {}, rows))));
  }
  into.replaceChildren(
    el('p', { class: 'soft' }, `${logits.listed.length} of ${plural(logits.positions, 'position')} listed, with ${flips} of ${plural(all, 'flip')} (⚑).`),
    el('div', { class: 'chips', role: 'group', 'aria-label': 'Positions' }, chips), table);
  const flipped = logits.listed.find((at) => at.top1[0] !== at.top1[1]);
  pick(flipped || logits.listed.reduce((worst, at) => Number(at.kl) > Number(worst.kl) ? at : worst));
}
