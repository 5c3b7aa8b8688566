"use strict";
const options = JSON.parse(document.getElementById("options").textContent);
const scheme = matchMedia("(prefers-color-scheme: dark)");
let printing = matchMedia("print").matches;
const dark = () => scheme.matches && !printing;
const ink = (color) => (dark() && options.dark[color]) || color;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/* A copy with the colours of the page's scheme. */
function themed(value) {
  if (Array.isArray(value)) return value.map(themed);
  if (value === null || typeof value !== "object") return value;
  const copy = {};
  for (const [key, inner] of Object.entries(value))
    copy[key] = key === "color" ? ink(inner) : themed(inner);
  return copy;
}

/* Lines with their bands, of the metric and smoothing that were chosen. */
function curves(spec, choice) {
  const traces = [];
  for (const [place, line] of spec.lines.entries()) {
    const found = line.data[choice.metric];
    if (!found) continue;
    const window = Math.min(choice.smoothing, found.mean.length - 1);
    const mean = found.mean[window], deviation = found.deviation[window];
    const common = { type: "scatter", legendgroup: `line${place}`, x: found.x };
    if (choice.bands && deviation.some((value) => value > 0)) {
      const edge = (sign) => mean.map((value, i) => value + sign * deviation[i]);
      const fill = {
        ...common, mode: "lines", line: { width: 0 }, showlegend: false,
        hoverinfo: "skip", uid: `band${place}`, fill: "toself",
        fillcolor: ink(line.color) + "26",
        x: [...found.x, ...found.x.slice().reverse()],
        y: [...edge(1), ...edge(-1).reverse()],
      };
      traces.push(fill);
    }
    traces.push({
      ...common, mode: found.x.length > 1 ? "lines" : "markers", name: line.name,
      uid: `line${place}`, y: mean, customdata: deviation,
      line: { color: ink(line.color), dash: line.dash, width: line.width },
      marker: { color: ink(line.color) },
      hovertemplate: `${spec.unit} %{x}: %{y:.4f}` +
        (deviation[0] === null ? "" : " ± %{customdata:.4f}"),
    });
  }
  const label = spec.metrics.find((metric) => metric.key === choice.metric).label;
  const range = spec.ranges[choice.metric];
  return {
    data: traces,
    layout: {
      height: printing ? 320 : 420, uirevision: "kept",
      xaxis: { title: { text: spec.unit }, uirevision: "kept" },
      yaxis: { title: { text: label }, uirevision: choice.metric, ...(range && { range }) },
      shapes: spec.changes.map((x) => ({
        type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1,
        line: { color: css("--soft"), width: 1, dash: "dot" },
      })),
    },
  };
}

/* A legend below the axes takes a row for as many names as fit side by side. */
function layout(given, traces, width) {
  const named = traces.filter((trace) => trace.name && trace.showlegend !== false);
  const longest = Math.max(0, ...named.map((trace) => trace.name.length));
  const entry = Math.min(width - 24, 54 + 7.5 * longest);
  const rows = named.length > 1
    ? Math.ceil(named.length / Math.max(1, Math.floor(width / entry))) : 0;
  const legend = 21 * rows + (rows ? 10 : 0);
  const axis = (spec) => ({
    gridcolor: css("--line"), linecolor: css("--line"), zerolinecolor: css("--soft"),
    zeroline: false, automargin: true, ...spec,
    title: { font: { size: 13 }, standoff: 8, ...(spec && spec.title) },
  });
  return {
    ...given,
    xaxis: axis(given.xaxis),
    yaxis: axis(given.yaxis),
    width,
    height: given.height + legend,
    margin: { l: 8, r: 12, t: 12, b: 52 + legend },
    font: { color: css("--text"), size: 12, family: "system-ui, sans-serif" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hovermode: "closest",
    hoverlabel: { namelength: -1 },
    showlegend: rows > 0,
    legend: {
      orientation: "h", entrywidth: entry - 46, entrywidthmode: "pixels",
      x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom",
    },
  };
}

const plots = [...document.querySelectorAll(".plot")].map((box) => {
  const spec = JSON.parse(box.nextElementSibling.textContent);
  const choice = { smoothing: 0 };
  function draw() {
    const width = Math.min(box.clientWidth || 900, printing ? 980 : 960);
    const made = spec.lines ? curves(spec, choice) : themed(spec);
    Plotly.react(box, made.data, layout(made.layout, made.data, width), {
      displaylogo: false, displayModeBar: false, scrollZoom: false,
    });
  }
  if (spec.lines) {
    choice.metric = spec.metrics[0].key;
    choice.bands = spec.lines.length <= options.most_bands;
    const choices = box.previousElementSibling;
    const add = (text, control, read) => {
      const label = document.createElement("label");
      label.append(text + " ", control);
      choices.append(label);
      control.addEventListener("change", () => { read(control); draw(); });
    };
    const menu = (items) => {
      const select = document.createElement("select");
      items.forEach(([value, text]) => select.append(new Option(text, value)));
      return select;
    };
    add("show", menu(spec.metrics.map((metric) => [metric.key, metric.label])),
      (control) => { choice.metric = control.value; });
    add("smoothing", menu(spec.windows.map((window, i) =>
      [i, window > 1 ? `mean over ${window} ${spec.unit}s` : "none"])),
      (control) => { choice.smoothing = Number(control.value); });
    const bands = document.createElement("input");
    bands.type = "checkbox";
    bands.checked = choice.bands;
    add("bands", bands, (control) => { choice.bands = control.checked; });
  }
  draw();
  return draw;
});

const redraw = () => plots.forEach((draw) => draw());
let width = innerWidth;
scheme.addEventListener("change", redraw);
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
addEventListener("beforeprint", () => { printing = true; redraw(); });
addEventListener("afterprint", () => { printing = false; redraw(); });
