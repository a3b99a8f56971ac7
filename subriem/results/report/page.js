// The controls: what the reader chooses, and the figures drawn again when that changes.

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const choices = new Map(); // what was chosen, by figure and control
let task = page.grid ? Math.max(0, page.cells.findIndex((place) => place >= 0)) : 0;
const figures = [];

function theme() {
  const ink = style("--ink");
  // black does not show on a dark page
  const palette = page.palette.map((value) => (value === "#000000" ? ink : value));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches && !matchMedia("print").matches;
  return { ink, dark, soft: style("--soft"), grid: style("--grid"), line: style("--line"), zero: style("--zero"), palette };
}

function context(figure, width) {
  const controls = [];
  const key = (name) => `${figure.id} ${name}`;
  return {
    ...theme(), controls, wide: Math.max(20, Math.floor((width - 90) / 8)), high: width < 500 ? 26 : 42,
    choose(name, label, options, initial) {
      const kept = choices.get(key(name));
      const value = options.some(([option]) => option === kept) ? kept : initial;
      controls.push({ key: key(name), label, options, value });
      return value;
    },
    tick(name, label, initial) {
      const value = choices.get(key(name)) ?? initial;
      controls.push({ key: key(name), label, value });
      return value;
    },
    // the other tasks along one dimension of the grid, where the reader wants them beside this one
    others() {
      if (!page.grid || figure.across) return [];
      const open = page.grid.map((dim, k) => [String(k), dim.label]).filter(([k]) => page.grid[k].values.length > 1);
      if (!open.length) return [];
      const along = this.choose("beside", "beside it, other", [["", "none"], ...open], "");
      if (along === "") return [];
      const place = unravel(task);
      return page.grid[along].values.map((label, k) => ({ label, k })).filter(({ k }) => k !== place[along])
        .map(({ label, k }) => ({ label, result: page.results[page.cells[ravel(place.with(Number(along), k))]] }))
        .map((other) => ({ ...other, view: other.result && other.result.views.find((view) => view.kind === figure.kind) }))
        .filter((other) => other.view);
    },
  };
}

function unravel(index) {
  const place = page.grid.map(() => 0);
  for (let k = page.grid.length - 1; k >= 0; k--) {
    place[k] = index % page.grid[k].values.length;
    index = Math.floor(index / page.grid[k].values.length);
  }
  return place;
}
const ravel = (place) => place.reduce((index, k, d) => index * page.grid[d].values.length + k, 0);

// ---------------------------------------------------------------- controls

function control({ key, label, options, value }, change) {
  // a label beside its control, not around it: else its name would be all that can be chosen
  const id = `choice-${key.replace(/\W+/g, "-")}`;
  const name = make("label", { for: id }, label);
  if (!options) {
    const box = make("input", { type: "checkbox", id, "data-key": key });
    box.checked = value;
    box.addEventListener("change", () => change(key, box.checked));
    return make("div", { class: "tick" }, box, name);
  }
  const list = make("select", { id, "data-key": key });
  for (const [option, text] of options) {
    const short = text.length > 90 ? `${text.slice(0, 88)} ...` : text;
    const item = make("option", { value: option }, short);
    item.selected = option === value;
    list.append(item);
  }
  list.addEventListener("change", () => change(key, list.value));
  return make("div", { class: "choice" }, name, list);
}

function fill(form, controls, change) {
  const focused = form.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  form.replaceChildren(...controls.filter((one) => !one.options || one.options.length > 1).map((one) => control(one, change)));
  if (focused) [...form.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
}

// ---------------------------------------------------------------- figures

function undrawn(traces, layout) {
  let missing = 0;
  for (const trace of traces) {
    if (trace.type !== "scatter" || trace.hoverinfo === "skip") continue;
    const log = [layout.xaxis, layout.yaxis].map((axis) => axis && axis.type === "log");
    trace.x.forEach((x, k) => {
      const pair = [x, trace.y[k]];
      if (pair.every((value) => value === null)) return;
      if (pair.some((value, d) => typeof value === "number" && (!Number.isFinite(value) || (log[d] && value <= 0)))) missing += 1;
    });
  }
  return missing;
}

function draw(figure) {
  const result = figure.across ? page.across : currentResult();
  const view = result && result.views.find((one) => one.kind === figure.kind && (one.variable || "") === figure.variable);
  figure.element.hidden = !view;
  if (!view) return;
  figure.heading.textContent = view.title;
  const width = figure.plot.clientWidth || 600;
  const ctx = context(figure, width);
  const { traces, layout, note = "", about, tall } = PICTURES[view.kind](ctx, result, view);
  fill(figure.form, ctx.controls, (key, value) => {
    choices.set(key, value);
    draw(figure);
  });
  figure.plot.classList.toggle("tall", Boolean(tall));
  const named = traces.filter((trace) => trace.showlegend !== false && trace.type !== "heatmap" && trace.type !== "surface").length;
  const shown = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 56, r: 14, t: 10, b: 48 },
    font: { color: ctx.ink, size: width < 500 ? 12 : 13, family: getComputedStyle(document.body).fontFamily },
    showlegend: named > 1 && named <= (width < 500 ? 6 : MANY), hovermode: "closest", autosize: true,
    legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { bgcolor: style("--field"), bordercolor: ctx.line, font: { color: ctx.ink } },
    ...layout,
  };
  const missing = undrawn(traces, shown);
  const caption = [
    missing ? `${missing} point${missing === 1 ? " is" : "s are"} not drawn: not finite, or not above zero on a logarithmic axis.` : "",
    named > MANY ? "Point at a line for its name; colours follow the order." : "", note, ...result.notes,
  ].filter(Boolean);
  figure.caption.replaceChildren(...caption.map((text) => make("p", {}, text)));
  figure.plot.setAttribute("aria-label", `${view.title}: ${about}`);
  const settings = { responsive: true, displaylogo: false, displayModeBar: width < 500 ? false : "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], topojsonURL: "", showSendToCloud: false };
  // from a plane to space, or back, the old axes do not go away by themselves
  const space = Boolean(shown.scene);
  if (figure.space !== space) Plotly.purge(figure.plot);
  figure.space = space;
  return Plotly.react(figure.plot, traces, shown, settings);
}

function add(parent, kind, variable, across) {
  const id = `${across ? "across" : "task"} ${kind} ${variable}`;
  const figure = { id, kind, variable, across, heading: make(page.grid ? "h4" : "h3"), form: make("form", { class: "controls" }),
    plot: make("div", { class: "plot", role: "img" }), caption: make("figcaption", { "aria-live": "polite" }) };
  figure.form.setAttribute("aria-label", `Choices of the figure ${kind}`);
  figure.form.addEventListener("submit", (event) => event.preventDefault());
  figure.element = make("figure", { "data-kind": id.trim() }, figure.heading, figure.form, figure.plot, figure.caption);
  parent.append(figure.element);
  figures.push(figure);
}

// ---------------------------------------------------------------- the task

const currentResult = () => (page.grid ? page.results[page.cells[task]] : page.results[0]);

function taskPanel() {
  const form = make("form", { class: "controls", "aria-label": "The task whose figures are shown" });
  form.addEventListener("submit", (event) => event.preventDefault());
  const state = make("p", { class: "note", "aria-live": "polite" });
  const update = () => {
    const place = unravel(task);
    fill(form, page.grid.map((dim, k) => ({ key: `grid ${k}`, label: dim.label, value: String(place[k]),
      options: dim.values.map((text, index) => [String(index), text]) })), (key, value) => {
      task = ravel(unravel(task).with(Number(key.split(" ")[1]), Number(value)));
      update();
      for (const figure of figures) if (!figure.across) draw(figure);
    });
    const point = page.grid.map((dim, k) => `${dim.name} = ${dim.values[place[k]]}`).join(", ");
    const said = page.cells[task] >= 0 ? "" : page.states[task] === "ok"
      ? " Its figures are left out of the page." : ` No figures: ${page.messages[task] ?? "see the failures"}`;
    state.textContent = `${point}: ${page.states[task]}.${said}`;
  };
  update();
  return make("div", { class: "tasks" }, form, state);
}

function build() {
  const root = document.getElementById("pictures");
  if (page.across) {
    root.append(make("h3", {}, "Over the grid"));
    for (const view of page.across.views) add(root, view.kind, view.variable || "", true);
  }
  const kinds = new Map();
  for (const result of page.results) for (const view of result.views) kinds.set(`${view.kind} ${view.variable || ""}`, view);
  if (page.grid) {
    root.append(make("h3", {}, "One task"), taskPanel(), ...page.notes.map((text) => make("p", { class: "note" }, text)));
    if (!page.results.length) root.append(make("p", { class: "note" }, "No task has figures."));
  }
  const order = Object.keys(PICTURES);
  for (const view of [...kinds.values()].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))) add(root, view.kind, view.variable || "", false);
  if (!figures.length) root.append(make("p", { class: "note" }, "There is nothing to draw: no variable has more than one value."));
  return redraw();
}

const redraw = () => Promise.all(figures.map(draw));

build().then(() => document.documentElement.setAttribute("data-drawn", "yes"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
matchMedia("print").addEventListener("change", redraw);
