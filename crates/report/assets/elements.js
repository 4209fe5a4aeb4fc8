// Making elements. Text only ever becomes a text node, so that nothing from a record is read as HTML.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);

const byId = (id) => document.getElementById(id);
const dark = () => document.documentElement.dataset.theme === 'dark';

// Buttons of which one is pressed.
function choice(label, options, chosen, pick) {
  const buttons = options.map(([value, text]) =>
    el('button', { type: 'button', 'aria-pressed': String(value === chosen), onclick: () => {
      buttons.forEach((button, index) => button.setAttribute('aria-pressed', String(options[index][0] === value)));
      pick(value);
    } }, text));
  return el('span', { role: 'group', 'aria-label': label, class: 'tools' }, buttons);
}

// Viridis at eleven points, from its dark end to its bright one.
const VIRIDIS = [[68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
  [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37]];

// The colour of a share from 0 to 1: the more, the further from the paper.
function shade(share) {
  const at = Math.min(1, Math.max(0, dark() ? share : 1 - share)) * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.floor(at));
  const mix = VIRIDIS[low].map((from, i) => Math.round(from + (VIRIDIS[low + 1][i] - from) * (at - low)));
  return `rgb(${mix.join(',')})`;
}

// Decades around the positive values, with a strip for zeros and one for what is not finite. Of less than two decades,
// `fine` gives the part from one round number to the next.
function decades(values, fine) {
  let least = Infinity, most = 0, zeros = false, wild = false;
  for (const value of values) {
    const x = Number(value);
    if (!Number.isFinite(x)) wild = true;
    else if (x <= 0) zeros = true;
    else { least = Math.min(least, x); most = Math.max(most, x); }
  }
  let low = least <= most ? Math.floor(Math.log10(least)) : -6;
  let high = least <= most ? Math.ceil(Math.log10(most)) : 0;
  if (high <= low) high = low + 1;
  if (fine && least <= most && Math.log10(most / least) < 1.7) {
    const steps = [];
    for (let exponent = low - 1; exponent <= high; exponent += 1) for (const digit of [1, 2, 5]) steps.push(Math.log10(digit) + exponent);
    low = Math.max(...steps.filter((step) => step <= Math.log10(least * 0.999)));
    high = Math.min(...steps.filter((step) => step >= Math.log10(most * 1.001)));
    return { low, high, zeros, wild, share: (x) => (Math.log10(x) - low) / (high - low), ticks: steps.filter((step) => step >= low && step <= high) };
  }
  return { low, high, zeros, wild, share: (x) => (Math.log10(x) - low) / (high - low) };
}

// What stands beside a tick: 1e-3, or 2e-3 between two powers of ten.
function power(exponent) {
  const low = Math.floor(exponent + 1e-9), digit = Math.round(10 ** (exponent - low));
  return low === 0 || low === 1 ? String(digit * 10 ** low) : `${digit}e${low}`;
}
