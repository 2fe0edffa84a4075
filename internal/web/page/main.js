// The frame of the page: which view is shown, the theme, the keys that work everywhere, the help.

import { h, icon, replace, said } from "./dom.js";
import { get } from "./api.js";
import { List } from "./list.js";
import { Session } from "./session.js";
import { Search } from "./search.js";

const main = document.getElementById("main");
// proven is what was found of the recordings that were opened here.
const app = { proven: new Map(), about: null, view: null, list: null, search: null, go };

// go changes the view. Where one is stands in the address, so that back works and a moment can be kept.
function go(where) {
  if (location.hash === "#" + where || (!where && !location.hash)) route();
  else location.hash = where;
}

function route() {
  const where = decodeURIComponent(location.hash.slice(1));
  const [, id, at, channel] = where.match(/^(S-[A-Za-z0-9_-]+)(?:@([0-9.]+))?(?:\/(\d+))?$/) ?? [];
  const moment = at === undefined ? undefined : { at: Number(at), channel: channel === undefined ? undefined : Number(channel) };
  if (id && app.view instanceof Session && app.view.id === id) {
    if (moment) app.view.jump(moment);
    return;
  }
  app.view?.close();
  if (id) app.view = new Session(app, main, id, moment);
  else if (where === "search" && app.about.search) app.view = app.search ??= new Search(app);
  else app.view = app.list ??= new List(app);
  app.view.show?.(main);
  frame();
}

function frame() {
  const at = (view) => (app.view === view && view ? "page" : undefined);
  replace(document.getElementById("bar"),
    h("a", { class: "brand", href: "#", "aria-label": "postern, all sessions" }, h("img", { src: "page/icon.svg", alt: "", width: 22, height: 22 }), "postern"),
    h("nav", { "aria-label": "Views" },
      h("a", { href: "#", "aria-current": at(app.list) }, "Sessions"),
      app.about.search && h("a", { href: "#search", "aria-current": at(app.search) }, "Search")),
    h("p", { class: "why", title: "What is looked at stands in the audit log with this reason" },
      icon("note"), h("span", {}, app.about.who ? [said(app.about.who), " looks because "] : "Reason: ", said(app.about.reason, { class: "quote" }))),
    button("theme", themeIcon(), "Theme: " + theme(), turnTheme),
    button("help", "help", "Keys (?)", () => help()));
}

function button(name, shape, label, fn) {
  return h("button", { class: "plain " + name, type: "button", "aria-label": label, title: label, onclick: fn }, icon(shape));
}

const theme = () => document.documentElement.dataset.theme ?? "as the system";
const themeIcon = () => ({ light: "sun", dark: "moon" })[theme()] ?? "auto";

function turnTheme() {
  const next = { "as the system": "light", light: "dark" }[theme()];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  try {
    if (next) localStorage.setItem("postern-theme", next);
    else localStorage.removeItem("postern-theme");
  } catch { /* then it is for this page only */ }
  frame();
  app.view?.repaint?.();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.view?.repaint?.());

const keys = [
  ["Everywhere", [["?", "this help"], ["t", "theme"], ["/", "search here"], ["Esc", "back, or close what is open"]]],
  ["Sessions", [["j k", "down, up"], ["Enter", "open"], ["/", "filter"], ["r", "ask again"]]],
  ["Playing", [["Space", "play, pause"], ["← →", "5 seconds; with Shift a minute"], ["[ ]", "command before, after"], ["f F", "file after, before"],
    ["w W", "warning after, before"], ["n N", "hit after, before"], ["< >", "slower, faster"], [", .", "one step back, on"], ["i", "skip pauses"],
    ["c", "next channel"], ["1 … 6", "panels"], ["Home End", "begin, end"], ["z", "whole screen"]]],
];

function help() {
  const open = document.querySelector("dialog");
  if (open) return open.close();
  const dialog = h("dialog", { class: "help", "aria-label": "Keys" },
    h("h2", {}, "Keys"),
    h("div", { class: "columns" }, keys.map(([title, list]) => h("section", {}, h("h3", {}, title),
      h("dl", {}, list.map(([key, what]) => [h("dt", {}, key.split(" ").map((k) => [h("kbd", {}, k), " "])), h("dd", {}, what)]))))),
    h("form", { method: "dialog" }, h("p", { class: "dim" }, "The terminal is asciinema-player, under the ", h("a", { class: "link", href: "page/LICENSE", target: "_blank", rel: "noopener" }, "Apache License"), "."), h("button", { class: "button", autofocus: true }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("keydown", (e) => {
  if (e.altKey || e.ctrlKey || e.metaKey) return;
  const writing = e.target.matches?.("input:not([type=checkbox]), textarea, select");
  if (document.querySelector("dialog")) {
    if (e.key === "?") help();
    return;
  }
  let used = true;
  if (writing) used = app.view?.written?.(e) ?? false;
  else if (e.key === "?") help();
  else if (e.key === "t") turnTheme();
  else if ((e.key === " " || e.key === "Enter") && e.target.matches?.("button, a[href], summary")) return;
  else used = app.view?.key?.(e) ?? false;
  if (!used) return;
  e.preventDefault();
  e.stopPropagation(); // the player has keys of its own
}, true);

async function start() {
  app.about = await get("api/about");
  addEventListener("hashchange", route);
  route();
}

start().catch((e) => replace(main, h("div", { class: "fault", role: "alert" }, icon("warn"), h("p", {}, e.message))));
