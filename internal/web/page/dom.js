// Everything that comes from a host, an admin or the CA goes through here, and ends as text: nothing on this page parses HTML.

export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") el.className = value;
    else if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "value") el.value = value;
    else el.setAttribute(name, value === true ? "" : String(value));
  }
  add(el, children);
  return el;
}

function add(el, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    el.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export function replace(el, ...children) {
  el.textContent = "";
  add(el, children);
  return el;
}

// What a person reads must not be changed by characters they cannot see: controls, direction overrides, what joins and what has no width.
const unseen = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u2028\u2029\u115f\u1160\u3164\uffa0]/gu;

export function visible(text) {
  return String(text ?? "").replace(unseen, (c) => (c === "\t" ? "    " : c === "\n" ? "↵" : "\\u{" + c.codePointAt(0).toString(16) + "}"));
}

// said is text of somebody else, kept apart from the direction of what stands around it.
export function said(text, props = {}) {
  return h("bdi", props, visible(text));
}

const shapes = {
  back: "M15 5l-7 7 7 7",
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8 5.5v13M16 5.5v13",
  back5: "M11 6L5 12l6 6M19 6l-6 6 6 6",
  on5: "M13 6l6 6-6 6M5 6l6 6-6 6",
  previous: "M7 6v12M18 6l-8 6 8 6z",
  next: "M17 6v12M6 6l8 6-8 6z",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M19.5 14.5A8 8 0 1 1 9.5 4.5a6.5 6.5 0 0 0 10 10z",
  auto: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 4v16M12 8h5.5M12 12h8M12 16h5.5",
  help: "M9.2 9.2a2.9 2.9 0 1 1 4.3 2.5c-1 .6-1.5 1.1-1.5 2.3M12 17.3v.2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  warn: "M12 4L2.8 20h18.4zM12 10v4.5M12 17.3v.2",
  shield: "M12 3l7.5 3v5.5c0 4.6-3.1 7.9-7.5 9.5-4.4-1.6-7.5-4.9-7.5-9.5V6z",
  down: "M12 4v12M6.5 11L12 16.5 17.5 11M5 20h14",
  up: "M12 17V5M6.5 10L12 4.5 17.5 10M5 20h14",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  forward: "M4 12h15M13 6l6 6-6 6",
  live: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM6.3 6.3a8 8 0 0 0 0 11.4M17.7 6.3a8 8 0 0 1 0 11.4",
  reload: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.5 3.5v4h-4",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  idle: "M4 6l6 6-6 6zM13 6l6 6-6 6zM20.5 6v12",
  terminal: "M3.5 5h17v14h-17zM7 9.5l3 2.5-3 2.5M12.5 15H17",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 12.5L20 4M16.5 7.5l3 3",
  note: "M5 5h14v10H9l-4 4z",
};

export function icon(name, label) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon icon-" + name);
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", shapes[name]);
  svg.append(path);
  return svg;
}

export function announce(text) {
  document.getElementById("announce").textContent = text;
}
