// Figures over the last five minutes, drawn as one line each.

import { clock, s, h } from "./dom.js";

const SAMPLES = 300;
const WIDTH = 600;
const HEIGHT = 116;

export class History {
  constructor() {
    this.times = [];
    this.nodes = new Map();
  }

  load(json) {
    this.times = json.times;
    this.nodes = new Map(Object.entries(json.nodes));
  }

  add(state) {
    if (this.times.at(-1) >= state.now) return;
    this.times.push(state.now);
    for (const node of state.nodes) {
      let series = this.nodes.get(node.address);
      if (!series) this.nodes.set(node.address, (series = { ops: [], lag: [] }));
      while (series.ops.length + 1 < this.times.length) {
        series.ops.push(0);
        series.lag.push(null);
      }
      const holds = node.state === "up" && node.role !== "sentinel";
      series.ops.push(holds ? node.load.ops : 0);
      series.lag.push(node.lag_bytes ?? null);
    }
    if (this.times.length > SAMPLES) {
      this.times.shift();
      for (const series of this.nodes.values()) {
        series.ops.shift();
        series.lag.shift();
      }
    }
  }

  // The sum over all nodes, or that of one.
  ops(address) {
    if (address) return this.nodes.get(address)?.ops ?? [];
    return this.times.map((_, at) => {
      let sum = 0;
      for (const series of this.nodes.values()) sum += series.ops[at] ?? 0;
      return sum;
    });
  }

  // The largest over all replicas, or that of one.
  lag(address) {
    if (address) return (this.nodes.get(address)?.lag ?? []).map((value) => value ?? 0);
    return this.times.map((_, at) => {
      let most = 0;
      for (const series of this.nodes.values()) most = Math.max(most, series.lag[at] ?? 0);
      return most;
    });
  }
}

// The next number that is 1, 2 or 5 with zeros behind; bytes are counted by 1024.
function nice(value, isBytes) {
  let unit = 1;
  while (isBytes && value / unit >= 1024) unit *= 1024;
  const power = unit * 10 ** Math.floor(Math.log10(Math.max(value / unit, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= value) ?? power * 10;
}

export function chart(parent, name, times, values, marks, format, isBytes = false) {
  if (!parent.firstChild) build(parent, name);
  const { area, line, grid, cursor, markers, top, start, here } = parent.parts;
  const most = nice(Math.max(...values, isBytes ? 100 : 10) * 1.05, isBytes);
  const count = Math.max(values.length, 2);
  const x = (at) => WIDTH - ((count - 1 - at) / (SAMPLES - 1)) * WIDTH;
  const y = (value) => HEIGHT - 12 - (value / most) * (HEIGHT - 24);
  const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  line.setAttribute("d", points.length ? `M${points.join("L")}` : "");
  area.setAttribute("d", points.length ? `M${x(0).toFixed(1)},${y(0)}L${points.join("L")}L${x(values.length - 1).toFixed(1)},${y(0)}Z` : "");
  grid.setAttribute("d", `M0,${y(most)}H${WIDTH}M0,${y(most / 2)}H${WIDTH}M0,${y(0)}H${WIDTH}`);
  const first = times[0] ?? 0;
  const last = times.at(-1) ?? 0;
  const place = (at) => WIDTH - ((last - at) / 1000 / (SAMPLES - 1)) * WIDTH;
  markers.setAttribute("d", marks.filter((at) => at >= first).map((at) => `M${place(at).toFixed(1)},6V${HEIGHT - 12}`).join(""));
  top.textContent = format(most);
  start.textContent = "5 min ago";
  parent.describe = (share) => {
    const at = Math.round(count - 1 - (1 - share) * (SAMPLES - 1));
    if (share === null || values[at] === undefined) {
      cursor.setAttribute("d", "");
      here.textContent = "";
      return;
    }
    cursor.setAttribute("d", `M${x(at)},6V${HEIGHT - 12}`);
    here.textContent = `${clock(times[at])}  ${format(values[at])}`;
  };
  parent.describe(parent.share ?? null);
  parent.parts.svg.setAttribute("aria-label", `${name}: now ${format(values.at(-1) ?? 0)}, most ${format(Math.max(...values, 0))}`);
}

function build(parent, name) {
  const path = (kind) => s("path", { class: kind });
  const parts = { grid: path("grid"), area: path("area"), line: path("line"), markers: path("mark"), cursor: path("cursor") };
  parts.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": name },
    parts.grid, parts.area, parts.line, parts.markers, parts.cursor);
  const label = (place) => h("span", { class: `label ${place}`, "aria-hidden": "true" });
  Object.assign(parts, { top: label("top"), start: label("start"), end: label("end"), here: label("here") });
  parts.end.textContent = "now";
  parent.parts = parts;
  parent.append(parts.svg, parts.top, parts.start, parts.end, parts.here);
  parent.addEventListener("pointermove", (event) => {
    const box = parent.getBoundingClientRect();
    parent.share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    parent.describe(parent.share);
  });
  parent.addEventListener("pointerleave", () => parent.describe((parent.share = null)));
}
