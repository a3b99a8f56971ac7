// The pictures. Each asks `ctx` for what the reader chose, and gives traces and a layout of plotly.

const DASHES = ["solid", "dash", "dot", "dashdot"];
const MARKS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"];
// dimensions whose order means nothing: a line along them would say something
const LOOSE = ["point", "geodesic", "law", "sample", "output", "parameter", "event", "cut", "field", "coordinate", "bracket", "integral"];
const FEW = 25, MANY = 14, MOST_LINES = 60;

const webgl = (() => {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl"));
  } catch {
    return false;
  }
})();

const colour = (ctx, k) => ctx.palette[k % ctx.palette.length];

// One of many in order, in the colours of cividis: they grow lighter, and are told apart without
// red and green.
const CIVIDIS = [[0, 34, 78], [53, 69, 108], [124, 123, 120], [188, 175, 111], [254, 232, 56]];
function shade(ctx, k, count) {
  const [least, greatest] = ctx.dark ? [0.35, 1] : [0, 0.78];
  const place = (least + (greatest - least) * (count > 1 ? k / (count - 1) : 0)) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const mixed = CIVIDIS[low].map((from, c) => Math.round(from + (CIVIDIS[low + 1][c] - from) * (place - low)));
  return `rgb(${mixed.join(",")})`;
}

// The k-th line: of a few, in the palette and styles; of many, in shades.
function line(ctx, k, x, y, name, more = {}, count = 1) {
  const few = x.length <= FEW && count <= MANY;
  const color = count > MANY ? shade(ctx, k, count) : colour(ctx, k);
  const dash = count > MANY ? "solid" : DASHES[Math.floor(k / ctx.palette.length) % 4];
  return {
    type: "scatter", x, y, name: plain(name), mode: few ? "lines+markers" : "lines",
    line: { color, width: count > MANY ? 1.2 : 1.8, dash },
    // the first are larger, so that those that come after do not hide them
    marker: { color, size: count <= 4 ? 6 + 3 * (count - 1 - k) : 6, symbol: MARKS[k % MARKS.length] },
    ...more,
  };
}

function axis(ctx, text, { log = false, variable = null, width = ctx.wide } = {}) {
  const found = {
    title: { text: wrapped(text, width), standoff: 8 }, gridcolor: ctx.grid, linecolor: ctx.line,
    zeroline: false, automargin: true, exponentformat: "power", hoverformat: ".6~g",
    type: log ? "log" : "linear",
  };
  if (log) Object.assign(found, { dtick: null, minor: { ticks: "" } });
  if (variable && isText(variable)) Object.assign(found, { type: "category" });
  else if (variable && variable.kind === "date") Object.assign(found, { type: "date", hoverformat: "" });
  else if (variable && variable.kind === "i4" && !log && spread(variable) < 12) Object.assign(found, { dtick: 1 });
  else if (variable && variable.truth) Object.assign(found, { tickvals: [0, 1], ticktext: ["no", "yes"] });
  return found;
}

const spread = (variable) => values(variable).reduce((most, value) => Math.max(most, value), -Infinity)
  - values(variable).reduce((least, value) => Math.min(least, value), Infinity);

const logOption = (ctx, name, label, variable, initial) =>
  !isText(variable) && variable.kind !== "date" && !variable.truth
    ? ctx.tick(`log ${name}`, label, initial) : false;

// ---------------------------------------------------------------- orbits of a flow

function loss(ctx, result, view) {
  const others = ctx.others();
  const compared = [{ result, view, label: view.flow }, ...others];
  const log = ctx.tick("log loss", "logarithmic loss", true);
  const traces = [];
  const shapes = [];
  const least = view.minimum_loss || 0;
  compared.forEach((one, k) => {
    const above = one.view.minimum_loss || 0;
    const { time, loss, predicted_loss } = one.result.variables;
    const x = slice(coordinateOr(one.result, time, "time"), "time", {});
    const measured = slice(loss, "time", {}).map((value) => value - above);
    const predicted = slice(predicted_loss, "time", {}).map((value) => value - above);
    const known = predicted.every((value) => Number.isFinite(value) && value > 0);
    if (known) {
      traces.push({
        type: "scatter", mode: "lines", x, y: predicted, name: "predicted", legendgroup: "predicted",
        showlegend: !traces.some((trace) => trace.name === "predicted"),
        line: { color: ctx.ink, width: 1.2, dash: "dash" },
      });
    }
    traces.push(line(ctx, k, x, measured, one.label, { mode: known ? "markers" : "lines+markers" }));
    const stop = one.view.stopping_time;
    if (stop !== null) {
      shapes.push({
        type: "line", xref: "x", yref: "paper", x0: stop, x1: stop, y0: 0, y1: 1,
        line: { color: colour(ctx, k), width: 1.5, dash: "dot" },
      });
      traces.push({
        type: "scatter", mode: "lines", x: [stop], y: [null], name: `stopping time ${number(stop)}`,
        line: { color: colour(ctx, k), width: 1.5, dash: "dot" }, hoverinfo: "skip",
      });
    }
  });
  const { time, loss: drawn } = result.variables;
  const above = least ? `, above its minimum ${number(least)}` : "";
  return {
    traces,
    layout: {
      shapes,
      xaxis: axis(ctx, time ? time.label : "time"),
      yaxis: axis(ctx, drawn.label + above, { log, width: ctx.high }),
    },
    about: `${drawn.label} over ${time ? time.label : "time"}, with its prediction`,
  };
}

const coordinateOr = (result, variable, dim) => variable || coordinate(result, dim);

function spectrum(ctx, result) {
  const { loss, singular_values, rank, rank_tolerance, smallest_singular_value,
    largest_singular_value } = result.variables;
  const choices = [["time", "time"]];
  if (loss) choices.unshift(["loss", "loss, training to the right"]);
  const over = ctx.choose("spectrum over", "over", choices, choices[0][0]);
  let x = slice(coordinate(result, "time"), "time", {}), label = coordinate(result, "time").label;
  if (over === "loss") {
    x = slice(loss, "time", {});
    x = x.map((value) => value / x[0]);
    label = "loss C / C(0), training to the right";
  }
  const tolerance = slice(rank_tolerance, "time", {});
  const largest = slice(largest_singular_value, "time", {});
  const finite = (list) => list.filter((value) => Number.isFinite(value) && value > 0);
  const bottom = Math.max(Math.min(...finite(tolerance), Infinity) * 0.1, 1e-300);
  const top = 3 * Math.max(...finite(largest), bottom * 10);
  const traces = [
    { type: "scatter", mode: "lines", x, y: tolerance.map(() => bottom), line: { width: 0 },
      showlegend: false, hoverinfo: "skip", meta: "frame" },
    { type: "scatter", mode: "lines", x, y: tolerance, name: "counted as zero", fill: "tonexty",
      fillcolor: ctx.zero, line: { width: 0 } },
  ];
  if (singular_values && singular_values.dims.includes("singular_value")) {
    const all = places(result, ["singular_value"], 24).map((at) => slice(singular_values, "time", at));
    traces.push({
      type: "scatter", mode: "lines", name: "singular values", hoverinfo: "skip",
      x: all.flatMap(() => [...x, null]), y: all.flatMap((one) => [...one, null]),
      line: { color: colour(ctx, 0), width: 0.8 },
    });
  }
  traces.push(line(ctx, 1, x, largest, "largest"));
  traces.push(line(ctx, 2, x, slice(smallest_singular_value, "time", {}), "smallest"));
  const seen = rank ? slice(rank, "time", {}).filter((value) => value >= 0) : [];
  const [low, high] = [Math.min(...seen), Math.max(...seen)];
  const decided = seen.length
    ? `Rank of D: ${low === high ? low : `${low} to ${high}`}, decided by the tolerance.` : "";
  const xaxis = axis(ctx, label, { log: over === "loss" });
  if (over === "loss") xaxis.autorange = "reversed";
  const yaxis = axis(ctx, "singular values of D", { log: true, width: ctx.high });
  yaxis.range = [Math.log10(bottom), Math.log10(top)];
  return {
    traces, layout: { xaxis, yaxis }, note: decided,
    about: `Singular values of D over ${label}. ${decided}`,
  };
}

function outputs(ctx, result, view) {
  const variable = result.variables.outputs;
  const numbers = (dim) => labels(result, dim).map((text, k) => [String(k), text]);
  const sample = Number(ctx.choose("sample", "sample", numbers("sample"), "0"));
  const components = numbers("output");
  const time = ["time", "time"];
  const first = ctx.choose("first output", "across: output", [...components, time], components.length > 1 ? "0" : "time");
  const second = ctx.choose("second output", "up: output", components, components.length > 1 ? "1" : "0");
  const compared = [{ result, view, label: "this task" }, ...ctx.others()];
  const traces = compared.map((one, k) => {
    const read = (which) => which === "time"
      ? slice(coordinate(one.result, "time"), "time", {})
      : slice(one.result.variables.outputs, "time", { sample, output: Number(which) });
    return line(ctx, k, read(first), read(second), one.label);
  });
  const text = (which) => which === "time"
    ? coordinate(result, "time").label : `${variable.label}, output ${components[which][1]}`;
  return {
    traces,
    layout: { xaxis: axis(ctx, text(first)), yaxis: axis(ctx, text(second), { width: ctx.high }) },
    about: `Outputs of sample ${sample}: ${text(second)} against ${text(first)}`,
  };
}

// ---------------------------------------------------------------- states

function paths(ctx, result, view) {
  const state = result.variables[view.variable];
  const names = labels(result, view.axis);
  const options = names.map((name, k) => [String(k), name]);
  const own = [`along ${view.along}`, coordinate(result, view.along).label];
  const x = ctx.choose("x", "across", [...options, own], "0");
  const y = ctx.choose("y", "up", [...options, own], names.length > 1 ? "1" : own[0]);
  const depth = webgl ? [["", "none: a plane"], ...options] : [["", "none: no WebGL here"]];
  const z = names.length > 2 ? ctx.choose("z", "depth", depth, view.surface && webgl ? "2" : "") : "";
  const surface = view.surface && z !== ""
    && ctx.choose("as", "show as", [["surface", "surface"], ["lines", "lines"]], "surface") === "surface";
  const over = state.dims.filter((dim) => dim !== view.axis && dim !== view.along);
  const read = (which, at) => which === own[0]
    ? slice(coordinate(result, view.along), view.along, {})
    : slice(state, view.along, { ...at, [view.axis]: Number(which) });
  const label = (which) => which === own[0] ? own[1] : names[which];
  const kinds = marking(result, state, view);
  const by = surface || !kinds.length ? "" : ctx.choose("by", "colour by",
    [["", over.length ? "line" : "nothing"], ...kinds.map((name) => [name, result.variables[name].label])], kinds.preferred || "");
  const lines = places(result, over, MOST_LINES).map((at) => ({
    at, x: read(x, at), y: read(y, at), z: z === "" ? null : read(z, at),
  })).filter((one) => one.x.some((value, k) => Number.isFinite(value) && Number.isFinite(one.y[k])));
  const total = over.reduce((product, dim) => product * length(result, dim), 1);
  let traces = surface ? sheet(ctx, result, view, [x, y, z].map((which) => (at) => read(which, at)))
    : by ? grouped(ctx, result, lines, view, by) : lines.map((one, k) => spatial(ctx, k, one, named(result, one.at), view.along === "shell" ? { mode: "markers" } : {}, Math.max(5, lines.length)));
  if (!surface && view.along === "time") traces.push(...ends(ctx, result, lines));
  if (result.variables.cut_state) traces.push(...cutPoints(ctx, result, [x, y, z]));
  const short = (which) => wrapped(label(which), 30);
  const layout = z !== "" ? {
    scene: Object.fromEntries([["xaxis", x], ["yaxis", y], ["zaxis", z]].map(([name, which]) => [name, {
      title: { text: short(which) }, gridcolor: ctx.grid, linecolor: ctx.line, zeroline: false,
      showbackground: false, color: ctx.ink, nticks: 5,
    }])),
    margin: { l: 0, r: 0, t: 0, b: 0 },
  } : { xaxis: axis(ctx, label(x)), yaxis: axis(ctx, label(y), { width: ctx.high }) };
  if (z === "" && label(x) === "x" && label(y) === "y") layout.yaxis.scaleanchor = "x";
  const count = surface ? "" : `${lines.length} of ${total} lines drawn. `;
  return {
    traces, layout, tall: z !== "",
    note: lines.length < total && !surface ? `${count}Others have no finite point or are left out (${MOST_LINES} at most, evenly chosen).` : "",
    about: `${state.label}: ${label(y)} against ${label(x)}${z === "" ? "" : ` and ${label(z)}`}`,
  };
}

// Truth values and texts, over dimensions of the state, that tell its points apart.
function marking(result, state, view) {
  const found = Object.keys(result.variables).filter((name) => {
    const variable = result.variables[name];
    return (variable.truth || isText(variable)) && variable.dims.length && !result.variables[name].dims.includes(view.axis)
      && variable.dims.every((dim) => state.dims.includes(dim)) && name !== variable.dims[0];
  });
  found.preferred = ["minimizing", "past_conjugate"].find((name) => found.includes(name));
  return found;
}

const named = (result, at) =>
  Object.entries(at).map(([dim, k]) => `${dim} ${labels(result, dim)[k]}`).join(", ") || "path";

function spatial(ctx, k, one, name, more = {}, count = 1) {
  const flat = line(ctx, k, one.x, one.y, name, more, count);
  if (!one.z) return flat;
  const { color } = flat.line;
  return { ...flat, type: "scatter3d", z: one.z, mode: flat.mode === "markers" ? "markers" : "lines",
    line: { color, width: 4 }, marker: { color, size: 3 } };
}

function grouped(ctx, result, lines, view, by) {
  const variable = result.variables[by];
  const moving = variable.dims.includes(view.along);
  const groups = new Map();
  for (const one of lines) {
    const kinds = slice(variable, moving ? view.along : null, one.at);
    const kind = (k) => (variable.truth ? (kinds[moving ? k : 0] ? "yes" : "no") : String(kinds[moving ? k : 0]));
    const into = (text) => {
      if (!groups.has(text)) groups.set(text, { x: [], y: [], z: one.z ? [] : null });
      return groups.get(text);
    };
    one.x.forEach((_, k) => {
      const group = into(kind(k));
      for (const key of ["x", "y", "z"]) if (group[key]) group[key].push(one[key][k]);
    });
    if (!moving) {
      const group = into(kind(0));
      for (const key of ["x", "y", "z"]) if (group[key]) group[key].push(null);
    }
  }
  const title = variable.label.length > 40 ? by : variable.label;
  // what belongs together, behind the points that are told apart
  const joined = moving ? lines.map((one) => spatial(ctx, 0, one, "", { mode: "lines", showlegend: false, hoverinfo: "skip",
    line: { color: ctx.line, width: 1 } })) : [];
  return [...joined, ...[...groups.keys()].sort().map((text, k) =>
    spatial(ctx, k, groups.get(text), `${title}: ${text}`, moving ? { mode: "markers", marker: { color: colour(ctx, k), size: 5, symbol: MARKS[k] } } : {}))];
}

function ends(ctx, result, lines) {
  const times = values(coordinate(result, "time"));
  const marks = new Map();
  for (const one of lines) {
    const there = one.x.map((_, k) => k).filter((k) =>
      [one.x, one.y, one.z || one.x].every((list) => Number.isFinite(list[k])));
    if (!there.length) continue;
    const first = there[0], last = there[there.length - 1];
    const add = (name, k) => {
      if (!marks.has(name)) marks.set(name, { x: [], y: [], z: [] });
      for (const key of ["x", "y", "z"]) if (one[key]) marks.get(name)[key].push(one[key][k]);
    };
    add(times[first] === 0 ? "start" : "first point", first);
    add(last === times.length - 1 ? "end" : "ended early", last);
  }
  const symbols = { start: "circle-open", "first point": "circle", end: "square", "ended early": "x" };
  return [...marks].map(([name, { x, y, z }]) => ({
    type: z.length ? "scatter3d" : "scatter", mode: "markers", name, x, y, ...(z.length ? { z } : {}),
    marker: { symbol: symbols[name], color: name === "first point" ? ctx.soft : ctx.ink,
      size: z.length ? 4 : 8, line: { width: z.length ? 0 : 1.5, color: ctx.ink } },
  }));
}

function cutPoints(ctx, result, which) {
  const points = result.variables.cut_state;
  const dim = points.dims.find((name) => name !== "coordinate");
  if (!dim || points.dims.length !== 2 || which.some((one) => one.startsWith("along"))) return [];
  const [x, y, z] = which.map((one) => one === "" ? [] : slice(points, dim, { coordinate: Number(one) }));
  const known = x.map((_, k) => k).filter((k) => Number.isFinite(x[k]) && Number.isFinite(y[k]));
  if (!known.length) return [];
  const pick = (list) => known.map((k) => list[k]);
  const flat = { name: "cut points", mode: "markers", x: pick(x), y: pick(y),
    marker: { color: ctx.palette[1], size: z.length ? 4 : 8, symbol: "diamond" } };
  return [z.length ? { ...flat, type: "scatter3d", z: pick(z) } : { ...flat, type: "scatter" }];
}

// A wave front as a surface, closed once around; what is not on the sphere in another colour.
function sheet(ctx, result, view, readers) {
  const count = length(result, "direction");
  const around = [...Array(count).keys(), 0];
  const [x, y, z] = readers.map((read) => around.map((direction) => read({ direction })));
  const name = ["minimizing", "past_conjugate"].find((key) => key in result.variables);
  const flags = around.map((direction) => name ? slice(result.variables[name], "vertical", { direction })
    .map((flag) => (name === "minimizing" ? 1 - flag : flag)) : z[0].map(() => 0));
  const [before, past] = [ctx.palette[0], ctx.palette[4]];
  const words = name === "minimizing" ? ["shortest, as far as found", "not shortest"]
    : ["no conjugate point before", "past a conjugate point"];
  const legend = name ? words.map((text, k) => ({
    type: "scatter3d", mode: "markers", x: [null], y: [null], z: [null], name: text,
    marker: { color: [before, past][k], symbol: "square", size: 8 }, hoverinfo: "skip",
  })) : [];
  return [{
    type: "surface", x, y, z, surfacecolor: flags, cmin: 0, cmax: 1, showscale: false, opacity: 0.72,
    colorscale: [[0, before], [0.5, before], [0.5, past], [1, past]], name: "front",
    lighting: { ambient: 0.75, diffuse: 0.5, specular: 0.05 },
  }, ...legend];
}

// ---------------------------------------------------------------- two dimensions at once

function map(ctx, result, view) {
  const variable = result.variables[view.variable];
  const [down, across] = variable.dims;
  const drawn = heat(ctx, result, variable, across, down, {});
  const [wide, high] = [across, down].map((dim) => {
    const found = values(coordinate(result, dim));
    return Math.abs(found[found.length - 1] - found[0]);
  });
  if (wide <= 3 * high && high <= 3 * wide) {
    // a plane of configurations: equal angles look equal
    Object.assign(drawn.layout.yaxis, { scaleanchor: "x", constrain: "domain" });
    drawn.layout.xaxis.constrain = "domain";
  }
  return drawn;
}

function heat(ctx, result, variable, across, down, at) {
  const rows = length(result, down);
  const cells = Array.from({ length: rows }, (_, k) => slice(variable, across, { ...at, [down]: k }));
  const [x, y] = [across, down].map((dim) => coordinate(result, dim));
  const gap = Math.max(rows, length(result, across)) > 40 ? 0 : 0.5;
  const trace = { type: "heatmap", x: Array.from(values(x)), y: Array.from(values(y)), z: cells,
    colorscale: "Cividis", colorbar: { thickness: 12, tickfont: { color: ctx.ink }, exponentformat: "power" },
    xgap: gap, ygap: gap };
  if (isText(variable)) {
    // shortest texts first: growth vectors by their length
    const kinds = [...new Set(values(variable))].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
    trace.z = cells.map((row) => row.map((text) => kinds.indexOf(text)));
    trace.text = cells.map((row) => row.map(plain));
    trace.hovertemplate = "%{x}, %{y}: %{text}<extra></extra>";
    const tint = (k) => shade(ctx, kinds.length - 1 - k, kinds.length);
    trace.colorscale = kinds.flatMap((_, k) => [[k / kinds.length, tint(k)], [(k + 1) / kinds.length, tint(k)]]);
    trace.showscale = false;
    Object.assign(trace, { zmin: -0.5, zmax: kinds.length - 0.5 });
    const legend = kinds.slice(0, 16).map((text, k) => ({ type: "scatter", mode: "markers", x: [null], y: [null],
      name: plain(text), marker: { symbol: "square", size: 11, color: tint(k) }, hoverinfo: "skip" }));
    return framed([trace, ...legend], kinds.length > 16 ? `The legend names 16 of ${kinds.length} texts.` : "");
  }
  return framed([trace], "");

  function framed(traces, note) {
    return {
      traces, note, tall: true,
      layout: { xaxis: axis(ctx, x.label, { variable: x }), yaxis: axis(ctx, y.label, { variable: y, width: ctx.high }) },
      about: `${variable.label} over ${x.label} and ${y.label}, in colours`,
    };
  }
}

// ---------------------------------------------------------------- anything over anything

function explore(ctx, result, view) {
  const all = result.variables;
  const several = Object.keys(all).filter((name) => size(all[name]) > 1);
  const isAxis = (name) => all[name].dims.length === 1 && all[name].dims[0] === name;
  const drawable = several.filter((name) => !isAxis(name));
  const pool = drawable.length ? drawable : several;
  const elsewhere = new Set(result.views.flatMap((other) => ({
    loss: ["loss", "predicted_loss"], paths: [other.variable], outputs: ["outputs"], map: [other.variable],
  })[other.kind] || []));
  const bundled = (name) => all[name].dims.some((dim) => ["coordinate", "component", "bracket", "parameter"].includes(dim));
  const varies = (name) => new Set(Array.from(values(all[name])).filter((value) => !Number.isNaN(value))).size > 1;
  const first = pool.find((name) => !isText(all[name]) && !elsewhere.has(name) && !bundled(name) && varies(name))
    || pool.find((name) => !isText(all[name]) && !elsewhere.has(name))
    || pool.find((name) => !isText(all[name])) || pool[0];
  const title = (name) => all[name].label === name ? name : `${name}: ${all[name].label}`;
  const chosen = ctx.choose("variable", "variable", pool.map((name) => [name, title(name)]), first);
  const y = all[chosen];
  const candidates = y.dims.flatMap((dim) => [
    [dim, `${dim}: ${coordinate(result, dim).label}`],
    ...several.filter((name) => name !== chosen && name !== dim && all[name].dims.length === 1
      && all[name].dims[0] === dim && all[name].shape[0] > 1).map((name) => [name, title(name)]),
  ]);
  const longest = y.dims.reduce((best, dim) => (length(result, dim) > length(result, best) ? dim : best), y.dims[0]);
  const over = ctx.choose(`over ${chosen}`, "over", candidates, y.dims.includes("time") ? "time" : longest);
  const along = y.dims.includes(over) ? over : all[over].dims[0];
  const x = y.dims.includes(over) ? coordinate(result, over) : all[over];
  const rest = y.dims.filter((dim) => dim !== along && length(result, dim) > 1);
  const styles = [["lines", "lines"], ["points", "points"]];
  if (rest.length && !isText(y) && y.dims.includes(over)) styles.push(["map", "colours over two"]);
  const loose = !y.dims.includes(over) || LOOSE.includes(over) || isText(x) || isText(y);
  const style = ctx.choose(`as ${chosen}`, "show as", styles, loose ? "points" : "lines");
  let series = "";
  if (rest.length) {
    const choices = rest.map((dim) => [dim, `${dim}: ${coordinate(result, dim).label}`]);
    if (style !== "map") choices.push(["", "one line only"]);
    const short = rest.find((dim) => length(result, dim) <= MOST_LINES);
    series = ctx.choose(`lines ${chosen} ${style === "map"}`, style === "map" ? "up" : "a line for each", choices, short || (style === "map" ? rest[0] : ""));
  }
  const at = {};
  for (const dim of rest.filter((name) => name !== series)) {
    at[dim] = Number(ctx.choose(`at ${dim}`, dim, labels(result, dim).map((text, k) => [String(k), text]), "0"));
  }
  const where = Object.entries(at).map(([dim, k]) => `${dim} ${labels(result, dim)[k]}`).join(", ");
  if (style === "map") {
    const drawn = heat(ctx, result, y, along, series, at);
    return { ...drawn, note: [drawn.note, where].filter(Boolean).join(" ") };
  }
  const logX = logOption(ctx, `x ${over}`, "logarithmic across", x, spansDecades(x));
  const logY = logOption(ctx, `y ${chosen}`, "logarithmic up", y, spansDecades(y));
  const many = series ? places(result, [series], MOST_LINES) : [{}];
  const across = slice(x, along, {});
  const traces = many.map((place, k) => {
    const found = slice(y, along, { ...at, ...place }).map((value) => (isText(y) ? plain(value) : value));
    return line(ctx, k, across.map((value) => (isText(x) ? plain(value) : value)), found,
      series ? `${series} ${labels(result, series)[place[series]]}` : chosen,
      style === "points" ? { mode: "markers" } : {}, many.length);
  });
  const left = series && many.length < length(result, series)
    ? `${many.length} of ${length(result, series)} lines are drawn, evenly chosen.` : "";
  return {
    traces, note: [left, where].filter(Boolean).join(" "),
    layout: { xaxis: axis(ctx, x.label, { log: logX, variable: x }), yaxis: axis(ctx, y.label, { log: logY, variable: y, width: ctx.high }) },
    about: `${y.label} over ${x.label}${where ? `, at ${where}` : ""}`,
  };
}

const PICTURES = { loss, spectrum, outputs, paths, map, explore };
