// How numbers are worded: as in the tables that came with the page.

const DATA = JSON.parse(document.getElementById('data').textContent);

function number(value) {
  const x = Number(value);
  if (Number.isNaN(x)) return 'NaN';
  if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf';
  const size = Math.abs(x);
  if (size === 0) return '0';
  if (size < 1e-3 || size >= 1e5) return x.toExponential(3).replace('e+', 'e');
  return x.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size))));
}

// Only all is 100 % and only none 0 %: whether every bit agrees is the question.
function percent(value) {
  const x = Number(value);
  if (Number.isNaN(x)) return 'NaN';
  if (x === 1) return '100 %';
  if (x === 0) return '0 %';
  if (x > 0.9999 && x < 1) return '>99.99 %';
  if (x < 0.0001 && x > 0) return '<0.01 %';
  return (x * 100).toFixed(2) + ' %';
}

// Text of a token, with what one would not see made visible.
function shown(text) {
  return text.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/^ | $/g, '␣').replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

function tokenText(id) {
  const text = DATA.texts[id];
  return text === undefined ? '' : shown(text);
}

const withinBlock = (name) => {
  const found = /^model\.layers\.(\d{1,9})(?:\.(.*))?$/.exec(name);
  return found ? { layer: Number(found[1]), row: found[2] || 'block output' } : null;
};

const plural = (count, one) => `${count} ${one}${count === 1 ? '' : 's'}`;
