// Starts everything, and draws again when arm, prompt, theme or width change.

function theme(name) {
  document.documentElement.dataset.theme = name;
  byId('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
  byId('theme').setAttribute('aria-label', name === 'dark' ? 'Light colours' : 'Dark colours');
}
const system = window.matchMedia('(prefers-color-scheme: dark)');
theme(system.matches ? 'dark' : 'light');
byId('theme').hidden = false;
byId('theme').addEventListener('click', () => { theme(dark() ? 'light' : 'dark'); draw(); });
system.addEventListener('change', () => { theme(system.matches ? 'dark' : 'light'); draw(); });

const wish = new URLSearchParams(location.hash.slice(1));
const state = {
  run: 0, show: 'introduced',
  open(name) {
    state.site = name;
    drawSite(byId('site'), DATA.runs[state.run], name);
    byId('site').focus({ preventScroll: true });
    byId('site').scrollIntoView({ block: 'nearest' });
  },
};

function draw() {
  const run = (DATA.runs || [])[state.run];
  if (!run) return;
  const into = (id, act) => { const place = byId(id); if (place) act(place); };
  into('map-chart', (place) => drawMap(place, run, state));
  into('site', (place) => { if (!place.hidden) drawSite(place, run, state.site); });
  into('layers-chart', (place) => drawLayers(place, run.prompt));
  into('positions-chart', (place) => drawPositions(place, run));
}

function choose(index) {
  state.run = index;
  draw();
  const run = DATA.runs[index];
  if (!run) return;
  const tokens = byId('tokens');
  if (tokens) drawTokens(tokens, run);
  const list = document.querySelector('#site-list > div');
  if (list) listing(list, ['site', '#adds', '#elements', '#max', '#carries', '#max', '#bit-equal', '#noise', 'origin'],
    run.sites.map((site) => [nameOf(site), number(site[NEW][1]), percent(1 - site[NEW][0]), number(site[NEW][2]), number(site[OWN][1]),
      number(site[OWN][2]), percent(site[OWN][0]), site[FLOOR] ? number(site[FLOOR][1]) : '–', site[ORIGIN] ? 'origin' : '']), state.open);
}

document.querySelectorAll('table.sortable').forEach(sortable);

if (DATA.runs) {
  const at = (arm, prompt) => DATA.runs.findIndex((run) => run.arm === arm && run.prompt === prompt);
  const arms = [...new Set(DATA.runs.map((run) => run.arm))], prompts = [...new Set(DATA.runs.map((run) => run.prompt))];
  const armOf = () => Number(armPick.value), promptOf = () => Number(promptPick.value);
  const change = () => { const index = at(armOf(), promptOf()); if (index >= 0) choose(index); };
  const pick = (options) => el('select', { onchange: change }, options.map(([value, text]) => el('option', { value }, text)));
  const armPick = pick(arms.map((arm) => [arm, DATA.arms[arm].label]));
  const promptPick = pick(prompts.map((prompt) => [prompt, `${prompt}: ${DATA.prompts[prompt].label}, ${plural(DATA.prompts[prompt].tokens, 'token')}`]));
  const pickers = byId('pickers');
  pickers.append(el('label', {}, 'Arm ', armPick), el('label', {}, 'Prompt ', promptPick));
  pickers.hidden = arms.length * prompts.length < 2;
  DATA.notes.forEach((note) => pickers.after(el('p', { class: 'note' }, note)));
  const named = DATA.arms.findIndex((arm) => arm.name === wish.get('arm'));
  const wished = at(named < 0 ? arms[0] : named, Number(wish.get('prompt') || 0));
  if (wished >= 0) { armPick.value = DATA.runs[wished].arm; promptPick.value = DATA.runs[wished].prompt; }
  choose(Math.max(0, wished));
  if (wish.get('site')) state.open(wish.get('site'));

  const tensors = document.querySelector('#conversion-list > div');
  if (tensors) listing(tensors, ['tensor', 'arm', 'from', 'to', 'what happened', '#elements', '#changed', '#overflowed', '#flushed', '#not finite'],
    DATA.conversions.flatMap((rows, arm) => rows.map((row) => [row[0], DATA.arms[arm].name, ...row.slice(1).map(String)])));
}

document.querySelectorAll('.copy').forEach((button) => {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const code = button.parentElement.querySelector('code');
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
    } catch {
      // Some browsers give a file no clipboard; the text is at least marked.
      getSelection().selectAllChildren(code);
      button.textContent = 'Marked';
    }
  });
});

let width = document.documentElement.clientWidth;
window.addEventListener('resize', () => {
  if (document.documentElement.clientWidth === width) return;
  width = document.documentElement.clientWidth;
  draw();
});
window.addEventListener('beforeprint', () => {
  state.before = document.documentElement.dataset.theme;
  theme('light');
  document.querySelectorAll('details').forEach((one) => { one.open = false; });
  draw();
});
window.addEventListener('afterprint', () => { theme(state.before || 'light'); draw(); });
document.documentElement.dataset.ready = 'yes';
