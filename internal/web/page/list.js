// All sessions, and filters to find the one that matters.

import { announce, h, icon, replace, said } from "./dom.js";
import { get } from "./api.js";
import { count, dayName, ended, hue, long, sameDay, shortClock, stamp, took } from "./format.js";

const spans = { any: ["any time", Infinity], day: ["24 hours", 86400], week: ["7 days", 7 * 86400], month: ["30 days", 30 * 86400], quarter: ["90 days", 90 * 86400] };
const ends = { any: "however they ended", live: "running now", good: "ended by themselves", cut: "cut or interrupted" };

export class List {
  constructor(app) {
    this.app = app;
    this.filter = { text: "", person: "", host: "", since: "any", end: "any" };
    this.sessions = null;
    this.at = 0;
    this.limit = 300;
  }

  show(main) {
    document.title = "postern · sessions";
    this.field = h("input", {
      type: "search", class: "field", placeholder: "Filter by person, host, account, reason, ID …", "aria-label": "Filter sessions", spellcheck: "false",
      autocomplete: "off", value: this.filter.text, oninput: () => this.set("text", this.field.value),
    });
    this.chips = h("div", { class: "filters" });
    this.body = h("div", { class: "rows" });
    this.total = h("p", { class: "total", role: "status" });
    replace(main, h("div", { class: "list" },
      h("div", { class: "tools" },
        h("label", { class: "find" }, icon("search"), this.field, h("kbd", {}, "/")),
        this.chips, h("button", { class: "plain", type: "button", title: "Ask again (r)", "aria-label": "Ask again", onclick: () => this.load() }, icon("reload"))),
      this.total, this.body));
    if (this.sessions) this.paint();
    else replace(this.body, h("div", { class: "loading" }, "Asking the CA …"));
    this.load();
  }

  close() {}

  async load() {
    try {
      const answer = await get("api/sessions");
      this.now = new Date(answer.now);
      this.reasons = answer.reasons ?? {};
      this.sessions = answer.sessions.sort((a, b) => new Date(b.started) - new Date(a.started));
    } catch (e) {
      replace(this.body, h("div", { class: "fault", role: "alert" }, icon("warn"), h("p", {}, e.message)));
      return;
    }
    if (this.app.view === this) this.paint();
  }

  set(name, value) {
    this.filter[name] = value;
    this.at = 0;
    this.limit = 300;
    this.paint();
  }

  found() {
    const words = this.filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const from = this.now - spans[this.filter.since][1] * 1000;
    return (this.sessions ?? []).filter((s) => {
      const [, host] = target(s);
      const end = ended(s, this.now).kind;
      if (this.filter.person && s.person !== this.filter.person) return false;
      if (this.filter.host && host !== this.filter.host) return false;
      if (new Date(s.started) < from) return false;
      if (this.filter.end !== "any" && this.filter.end !== (end === "bad" ? "cut" : end) && !(this.filter.end === "cut" && s.interrupted)) return false;
      const text = [this.reasons[s.request], s.id, s.person, s.target, s.request, s.bastion, s.client, s.end, recording(s).text].join(" ").toLowerCase();
      return words.every((w) => text.includes(w));
    });
  }

  paint() {
    const list = this.found();
    this.list = list;
    this.at = Math.min(this.at, Math.max(0, list.length - 1));
    this.choices();
    const all = this.sessions.length, live = this.sessions.filter((s) => ended(s, this.now).kind === "live").length;
    replace(this.total, list.length === all ? count(all, "session") : `${list.length} of ${count(all, "session")}`, live ? `, ${live} running now` : "");
    if (!list.length) {
      replace(this.body, h("div", { class: "empty" }, icon(all ? "search" : "shield"),
        h("h2", {}, all ? "No session is like that" : "No sessions yet"),
        h("p", {}, all ? "Take a filter away, or look further back." : "As soon as somebody goes through a bastion, it stands here."),
        all ? h("button", { class: "button", type: "button", onclick: () => this.clear() }, "Take all filters away") : null));
      return;
    }
    const rows = [];
    let last = null;
    this.rows = [];
    list.slice(0, this.limit).forEach((s, i) => {
      const started = new Date(s.started);
      if (!last || !sameDay(last, started)) rows.push(h("h2", { class: "day" }, dayName(started, this.now)));
      last = started;
      rows.push(this.rows[i] = this.row(s, i));
    });
    if (list.length > this.limit) {
      rows.push(h("button", { class: "button more", type: "button", onclick: () => { this.limit += 300; this.paint(); } }, `Show ${Math.min(300, list.length - this.limit)} more`));
    }
    replace(this.body, h("div", { class: "head", "aria-hidden": "true" },
      ["Who", "Where", "Started", "Took", "How it ended", "Recording"].map((t) => h("span", {}, t))), rows);
    this.select(this.at, false);
  }

  row(s, i) {
    const [account, host] = target(s), end = ended(s, this.now), kept = this.app.proven.get(s.id) ?? recording(s), started = new Date(s.started);
    return h("a", { class: "row", href: "#" + encodeURIComponent(s.id), onfocus: () => this.select(i, false) },
      h("span", { class: "who" }, face(s.person), said(s.person)),
      h("span", { class: "where" }, said(account, { class: "account" }), h("span", { class: "at" }, "@"), said(host)),
      h("time", { datetime: s.started, title: stamp(started) }, shortClock(started)),
      h("span", { class: "took" }, long(took(s, this.now))),
      h("span", { class: "end end-" + end.kind }, end.kind === "live" ? h("span", { class: "pulse" }) : null, said(end.text)),
      h("span", { class: "kept kept-" + kept.kind }, icon(kept.icon), kept.text),
      h("span", { class: "small" }, this.reasons[s.request] ? [said(this.reasons[s.request], { class: "quote" }), " · "] : null, said(s.id), " · ", said(s.request), " · from ", said(s.client), " · ", said(s.bastion)));
  }

  choices() {
    const choose = (name, label, options) => h("select", {
      "aria-label": label, class: this.filter[name] && this.filter[name] !== "any" ? "chosen" : undefined, onchange: (e) => this.set(name, e.target.value),
    }, options.map(([value, text]) => h("option", { value, selected: this.filter[name] === value }, text)));
    const names = (of) => [...new Set((this.sessions ?? []).map(of))].sort().map((n) => [n, n]);
    replace(this.chips,
      choose("person", "Person", [["", "anybody"], ...names((s) => s.person)]),
      choose("host", "Host", [["", "any host"], ...names((s) => target(s)[1])]),
      choose("since", "Since", Object.entries(spans).map(([k, [text]]) => [k, text])),
      choose("end", "How it ended", Object.entries(ends)));
  }

  clear() {
    this.filter = { text: "", person: "", host: "", since: "any", end: "any" };
    this.field.value = "";
    this.paint();
  }

  select(i, scroll = true) {
    this.rows?.[this.at]?.classList.remove("selected");
    this.at = i;
    const row = this.rows?.[i];
    row?.classList.add("selected");
    if (scroll && row) {
      row.focus({ preventScroll: true });
      row.scrollIntoView({ block: "nearest" });
    }
  }

  // written is a key in the field.
  written(e) {
    if (e.target !== this.field) return e.key === "Escape" ? (e.target.blur(), true) : false;
    if (e.key === "Escape") {
      if (this.field.value) { this.field.value = ""; this.set("text", ""); } else this.field.blur();
    } else if (e.key === "Enter" && this.list?.length) {
      this.app.go(this.list[this.at].id);
    } else if (e.key === "ArrowDown") {
      this.select(this.at);
    } else return false;
    return true;
  }

  key(e) {
    const last = (this.rows?.length ?? 0) - 1;
    if (e.key === "j" || e.key === "ArrowDown") this.select(Math.min(last, document.activeElement === this.rows?.[this.at] ? this.at + 1 : this.at));
    else if (e.key === "k" || e.key === "ArrowUp") this.select(Math.max(0, this.at - 1));
    else if (e.key === "Home" || e.key === "g") this.select(0);
    else if (e.key === "End" || e.key === "G") this.select(Math.max(0, last));
    else if (e.key === "Enter" && this.list?.length) this.app.go(this.list[this.at].id);
    else if (e.key === "/") this.field.focus();
    else if (e.key === "r") this.load().then(() => announce("asked again"));
    else if (e.key === "Escape" && Object.values(this.filter).some((v) => v && v !== "any")) this.clear();
    else return false;
    return true;
  }
}

export function target(s) {
  const i = s.target.indexOf("@");
  return i < 0 ? ["", s.target] : [s.target.slice(0, i), s.target.slice(i + 1)];
}

// face is a person's initial in a colour of their own.
export function face(person) {
  const el = h("span", { class: "face", "aria-hidden": "true" }, ([...person][0] ?? "?").toUpperCase());
  el.style.setProperty("--hue", hue(person));
  return el;
}

function recording(s) {
  if (s.interrupted) return { text: "interrupted", icon: "warn", kind: "cut" };
  if (s.sealed) return { text: "sealed", icon: "shield", kind: "good" };
  return { text: "open", icon: "live", kind: "live" };
}
