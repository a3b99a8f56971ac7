// The numbers of the page: variables over named dimensions, decoded when first drawn.

const page = JSON.parse(document.getElementById("data").textContent);

function values(variable) {
  if (variable.decoded) return variable.decoded;
  if (typeof variable.data !== "string") return (variable.decoded = variable.data);
  const bytes = Uint8Array.from(atob(variable.data), (character) => character.charCodeAt(0));
  const type = variable.kind === "i4" ? Int32Array : Float64Array;
  return (variable.decoded = new type(bytes.buffer));
}

const size = (variable) => variable.shape.reduce((product, count) => product * count, 1);
const isText = (variable) => variable.kind === "text";

// The values along one dimension (null: the one value), with an index given for each other one.
function slice(variable, along, at) {
  const all = values(variable);
  let start = 0, stride = 1, step = 0, count = 1;
  for (let k = variable.dims.length - 1; k >= 0; k--) {
    if (variable.dims[k] === along) {
      step = stride;
      count = variable.shape[k];
    } else {
      start += stride * (at[variable.dims[k]] ?? 0);
    }
    stride *= variable.shape[k];
  }
  return Array.from({ length: count }, (_, k) => all[start + step * k]);
}

const length = (result, dim) => {
  for (const variable of Object.values(result.variables)) {
    const place = variable.dims.indexOf(dim);
    if (place >= 0) return variable.shape[place];
  }
  return 0;
};

// The coordinate of a dimension, or 0, 1, 2, ... where it has none.
function coordinate(result, dim) {
  const own = result.variables[dim];
  if (own && own.dims.length === 1 && own.dims[0] === dim) return own;
  const count = length(result, dim);
  const data = Array.from({ length: count }, (_, k) => k);
  return { dims: [dim], shape: [count], label: dim, kind: "i4", data };
}

const number = (value) => (Number.isInteger(value) ? String(value) : Number(value.toPrecision(5)).toString());
const shown = (value) => (typeof value === "number" ? number(value) : String(value));
const labels = (result, dim) => Array.from(values(coordinate(result, dim)), shown);

// Every choice of an index for each of these dimensions, at most so many of them, evenly chosen.
function places(result, dims, most) {
  const counts = dims.map((dim) => length(result, dim));
  const total = counts.reduce((product, count) => product * count, 1);
  const kept = Math.min(total, most);
  return Array.from({ length: kept }, (_, k) => {
    let rest = kept === 1 ? 0 : Math.round((k * (total - 1)) / (kept - 1));
    const at = {};
    for (let d = dims.length - 1; d >= 0; d--) {
      at[dims[d]] = rest % counts[d];
      rest = Math.floor(rest / counts[d]);
    }
    return at;
  });
}

// Whether a logarithmic axis shows it better: all above zero, over three decades and more.
function spansDecades(variable) {
  if (isText(variable) || variable.kind === "date") return false;
  let least = Infinity, greatest = 0;
  for (const value of values(variable)) {
    if (!Number.isFinite(value)) continue;
    if (value <= 0) return false;
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
  }
  return greatest / least >= 999;
}

// Plotly reads some markup in texts: what comes from a file is shown as it is.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function wrapped(text, width) {
  const lines = [""];
  for (const word of String(text).split(/\s+/)) {
    const last = lines.length - 1;
    if (lines[last] && lines[last].length + word.length >= width) lines.push(word);
    else lines[last] = lines[last] ? `${lines[last]} ${word}` : word;
  }
  return lines.map(plain).join("<br>");
}
