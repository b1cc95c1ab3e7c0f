// Elements and figures. Whatever a server sent becomes text here, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const by = (id) => document.getElementById(id);

// Replaces what is inside only if it would look different, so that focus, selection and scrolling stay.
export function show(parent, key, ...children) {
  const text = typeof key === "string" ? key : JSON.stringify(key);
  if (parent.shown === text) return false;
  parent.shown = text;
  parent.replaceChildren(...children.flat(Infinity).map((child) => (typeof child === "function" ? child() : child)).flat(Infinity).filter(Boolean));
  return true;
}

export const number = (value) => (value ?? 0).toLocaleString("en-US").replaceAll(",", "\u2009");

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB", { hour12: false });

// A name that fits: the host goes where all nodes are on the same one.
export function shorter(nodes) {
  const hosts = new Set(nodes.map((node) => node.address.slice(0, node.address.lastIndexOf(":"))));
  const cut = hosts.size === 1 ? [...hosts][0].length : 0;
  return (address) => {
    if (cut && address.slice(0, cut) === [...hosts][0]) return address.slice(cut);
    return address.length > 24 ? `${address.slice(0, 10)}…${address.slice(-12)}` : address;
  };
}

// How a node is to be coloured.
export function tone(node) {
  if (!node || node.state === "unknown") return "unknown";
  if (node.state === "down") return "down";
  if (node.complaints?.length || (node.role === "replica" && !node.linked)) return "warning";
  if (node.cluster && !node.cluster.ok) return "warning";
  return "up";
}

export function role(node) {
  if (!node.role) return "unknown";
  return node.role;
}
