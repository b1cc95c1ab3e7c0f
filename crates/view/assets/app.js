// The page: follows the state that the dashboard streams, and draws what has changed.

import { by, bytes, h, number, show, shorter } from "./dom.js";
import { History, chart } from "./charts.js";
import { graphs, shape } from "./graph.js";
import * as panels from "./panels.js";
import * as actions from "./actions.js";

const history = new History();
let state = null;
let chosen = null;
let filter = "";
let all = false;
let heard = 0;
// How many samples there were in the last state.
let samples = null;
let drawing = false;

function choose(address) {
  chosen = chosen === address ? null : address;
  draw();
  if (chosen) by("drawer").querySelector("button")?.focus();
}

function draw() {
  if (drawing || !state) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    render();
  });
}

function render() {
  const short = shorter(state.nodes);
  const node = state.nodes.find((node) => node.address === chosen);
  if (!node) chosen = null;
  const verdict = by("verdict");
  verdict.dataset.verdict = state.verdict;
  if (verdict.textContent !== state.verdict) verdict.textContent = state.verdict;
  document.title = `${{ healthy: "", degraded: "▲ ", down: "■ ", unreachable: "■ " }[state.verdict]}Quorate`;
  figures();
  panels.problems(state, all, () => {
    all = !all;
    draw();
  });
  panels.jobs(state);
  by("actions").hidden = !state.actions;
  picture(short);
  const marks = state.stories.map((story) => story.at);
  const ops = history.ops(chosen);
  const lag = history.lag(chosen);
  chart(by("throughput"), "Commands a second", history.times, ops, marks, (value) => `${number(Math.round(value))}/s`);
  chart(by("lag"), "Bytes behind", history.times, lag, marks, (value) => bytes(value), true);
  by("throughput-now").textContent = `${number(ops.at(-1) ?? 0)} commands/s${chosen ? ` on ${short(chosen)}` : ""}`;
  by("lag-now").textContent = chosen ? `${bytes(lag.at(-1) ?? 0)} on ${short(chosen)}` : `${bytes(lag.at(-1) ?? 0)} at most`;
  panels.timeline(state, short, openStory, choose);
  panels.table(state, filter, chosen, choose, draw);
  panels.drawer(node, state, actions.of, () => choose(chosen));
}

function figures() {
  const live = state.nodes.filter((node) => node.state === "up");
  const servers = live.filter((node) => node.role !== "sentinel");
  const sum = (of) => servers.reduce((total, node) => total + of(node), 0);
  const nodes = live.length === state.nodes.length ? number(live.length) : `${number(live.length)} of ${number(state.nodes.length)}`;
  const list = [[nodes, state.nodes.length === 1 ? "node" : "nodes"], [number(sum((node) => node.load.ops)), "commands/s"], [bytes(sum((node) => node.load.memory)), "memory"],
    [number(servers.filter((node) => node.role === "primary").reduce((total, node) => total + node.load.keys, 0)), "keys"]];
  show(by("figures"), list, list.map(([value, name]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function picture(short) {
  const parent = by("graphs");
  const focused = document.activeElement?.closest?.(".graph") ? document.activeElement.dataset.address : null;
  const empty = state.nodes.length ? null : h("p", { class: "empty" }, "Nobody has been found yet.");
  if (show(parent, shape(state, chosen), () => graphs(state, chosen, choose), empty) && focused) {
    parent.querySelector(`[data-address="${CSS.escape(focused)}"]`)?.focus();
  }
  by("topology-note").textContent = `seen from ${state.seeds.map(short).join(", ")}${state.full ? "; there are more nodes than are shown" : ""}`;
}

function openStory(number) {
  const story = state.stories.find((story) => story.number === number);
  if (!story) return;
  const explanations = state.nodes.flatMap((node) => (node.watched ?? [])
    .filter((watched) => watched.explanation.length && [story.from, story.to].includes(watched.primary))
    .map((watched) => [node.address, watched.explanation]));
  actions.dialog(panels.story(story, explanations, shorter(state.nodes)), h("div", { class: "end" }, h("button", { class: "button", type: "button", onclick: actions.close }, "Close")));
}

function help() {
  const keys = [["/", "filter the nodes"], ["j  k", "next and previous node"], ["Enter", "open a node"], ["← →", "go through a picture"], ["e", "to the timeline"], ["a", "actions, where they are allowed"], ["t", "dark or light"], ["Esc", "close what is open"]];
  actions.dialog(h("h2", { id: "dialog-title" }, "Keys"), h("dl", { class: "facts" }, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])),
    h("div", { class: "end" }, h("button", { class: "button", type: "button", onclick: actions.close }, "Close")));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch { /* A browser may keep nothing. */ }
}

function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let kept = null;
  try {
    kept = localStorage.getItem("theme");
  } catch { /* A browser may keep nothing. */ }
  document.documentElement.dataset.theme = kept ?? (dark.matches ? "dark" : "light");
  const toggle = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  by("theme").addEventListener("click", toggle);
  by("help").addEventListener("click", help);
  by("actions").addEventListener("click", () => actions.menu(state));
  by("filter").addEventListener("input", (event) => {
    filter = event.target.value;
    draw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !by("dialog").open) {
      if (document.activeElement === by("filter") && filter) {
        by("filter").value = filter = "";
        draw();
      } else if (chosen) choose(chosen);
      document.activeElement?.blur?.();
      return;
    }
    if (event.target.matches("input") || by("dialog").open) return;
    const step = { j: 1, k: -1 }[event.key];
    if (step) move(step);
    else if (event.key === "/") by("filter").focus();
    else if (event.key === "e") by("timeline").focus();
    else if (event.key === "t") toggle();
    else if (event.key === "?") help();
    else if (event.key === "a" && state?.actions) actions.menu(state);
    else return;
    event.preventDefault();
  });
}

function move(step) {
  const rows = [...by("table").tBodies[0]?.rows ?? []];
  if (!rows.length) return;
  const here = rows.indexOf(document.activeElement);
  const next = rows[here < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, here + step))];
  rows.forEach((row) => (row.tabIndex = row === next ? 0 : -1));
  next.focus();
}

function pulse(how, words) {
  by("pulse").dataset.state = how;
  if (by("pulse-text").textContent !== words) by("pulse-text").textContent = words;
}

async function follow() {
  await fetch("/api/history").then((answer) => answer.json()).then((json) => history.load(json)).catch(() => {});
  const source = new EventSource("/api/stream");
  source.addEventListener("message", (event) => {
    state = JSON.parse(event.data);
    heard = performance.now();
    if (state.samples !== samples) history.add(state);
    samples = state.samples;
    pulse("live", "live");
    draw();
  });
  source.addEventListener("error", () => pulse("lost", "reconnecting"));
  setInterval(() => {
    if (heard && performance.now() - heard > 4000) pulse("lost", "no news");
  }, 1000);
}

begin();
follow();
