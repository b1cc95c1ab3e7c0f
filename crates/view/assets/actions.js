// What may be done, if the dashboard lets it: a wish, its plan, a confirmation, and then the deed.

import { by, h } from "./dom.js";

let token = "";

async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` }, body: JSON.stringify(body),
    });
  } catch {
    return { error: "The dashboard does not answer." };
  }
  const said = await answer.json().catch(() => ({ error: "The dashboard answers nonsense." }));
  if (answer.status === 401) token = "";
  return { ...said, status: answer.status };
}

export function dialog(...children) {
  const element = by("dialog");
  element.replaceChildren(h("div", { class: "inside" }, children));
  if (!element.open) element.showModal();
  return element;
}

export const close = () => by("dialog").close();

const end = (...buttons) => h("div", { class: "end" }, h("button", { class: "button", type: "button", onclick: close }, "Cancel"), buttons);

// Asks for the token once, then shows the plan of a wish.
export async function wish(body) {
  if (!token) return ask("", body);
  const plan = await post("/api/plan", body);
  if (plan.status === 401) return ask(plan.error, body);
  if (plan.error) return refuse(plan.error);
  const confirm = h("button", { class: "button danger", type: "button", id: "confirm" }, plan.steps.length === 1 ? "Do it" : `Do these ${plan.steps.length} steps`);
  confirm.addEventListener("click", async () => {
    confirm.disabled = true;
    const done = await post("/api/perform", { plan: plan.plan });
    if (done.error) refuse(done.error);
    else close();
  });
  dialog(
    h("h2", { id: "dialog-title" }, plan.title),
    h("p", { class: "lead" }, "This is what will be done, in this order. It stops at the first step that is refused."),
    h("ol", { class: "steps plan", tabindex: "0", "aria-label": "Plan" }, plan.steps.map((step) => h("li", {}, h("span", { class: "what" }, step)))),
    plan.warnings.map((warning) => h("p", { class: "caution" }, warning)),
    end(confirm));
}

function refuse(error) {
  dialog(h("h2", { id: "dialog-title" }, "That can't be done"), h("p", { class: "lead" }, error),
    h("div", { class: "end" }, h("button", { class: "button", type: "button", onclick: close }, "Close")));
}

function ask(error, body) {
  const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const form = h("form", { class: "inside-form" },
    h("label", {}, "Token", field), error ? h("p", { class: "bad", role: "alert" }, error) : null,
    end(h("button", { class: "button primary", type: "submit" }, "Go on")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = field.value.trim();
    wish(body);
  });
  dialog(h("h2", { id: "dialog-title" }, "Who acts?"), h("p", { class: "lead" }, "The dashboard printed a token when it was started, or was given one. It is kept until this page is closed."), form);
  field.focus();
}

// What can be wished for one node.
export function of(node) {
  const button = (name, body) => h("button", { class: "button", type: "button", onclick: () => wish(body) }, name);
  const buttons = [];
  for (const watched of node.watched ?? []) buttons.push(button(`Fail ${watched.name} over…`, { wish: "failover", name: watched.name }));
  if (node.part === "cluster node") {
    if (node.role === "replica" && node.state === "up") buttons.push(button("Promote…", { wish: "promote", node: node.address }));
    buttons.push(button("Remove…", { wish: "remove", node: node.address }));
  }
  return buttons.length ? buttons : [h("p", { class: "what" }, "There is nothing to do here.")];
}

// What can be wished for the whole.
export function menu(state) {
  const choices = [];
  const names = new Set(state.nodes.flatMap((node) => (node.watched ?? []).map((watched) => watched.name)));
  for (const name of names) choices.push([`Fail ${name} over`, "Sentinels choose another primary for it.", { wish: "failover", name }]);
  const cluster = state.groups.some((group) => group.kind === "cluster");
  if (cluster) choices.push(["Rebalance", "Every primary gets as many slots as every other.", { wish: "rebalance" }]);
  const field = h("input", { type: "text", id: "add-address", placeholder: "10.0.0.7:6379", autocomplete: "off", spellcheck: "false" });
  const add = cluster ? h("form", { class: "inside-form" }, h("label", {}, "Add a node to the cluster", field), h("div", { class: "end" }, h("button", { class: "button", type: "submit" }, "Plan…"))) : null;
  add?.addEventListener("submit", (event) => {
    event.preventDefault();
    wish({ wish: "add", node: field.value.trim() });
  });
  dialog(h("h2", { id: "dialog-title" }, "Actions"),
    choices.length || add ? h("p", { class: "lead" }, "Each shows its plan first.") : h("p", { class: "lead" }, "Nothing here can be acted on: no Sentinel and no cluster is known."),
    choices.map(([name, words, body]) => h("div", { class: "choice" }, h("button", { class: "button", type: "button", "data-wish": body.wish, onclick: () => wish(body) }, `${name}…`), h("p", { class: "lead" }, words))),
    add, h("div", { class: "end" }, h("button", { class: "button ghost", type: "button", onclick: close }, "Close")));
}
