// Search across recordings. What is found leads to its moment.

import { h, icon, replace, said, visible } from "./dom.js";
import { get, putStream } from "./api.js";
import { count, dayName, position, shortClock } from "./format.js";
import { face, target } from "./list.js";

const kinds = [["output", "what was on the screen"], ["command", "commands"], ["file", "files"]];

export class Search {
  constructor(app) {
    this.app = app;
    this.pattern = "";
    this.in = new Set(kinds.map(([k]) => k));
    this.groups = new Map();
    this.state = "";
  }

  async show(main) {
    document.title = "postern · search";
    this.field = h("input", { type: "search", class: "field", placeholder: "A regular expression, such as  rm -rf|DROP TABLE", "aria-label": "Search across recordings", spellcheck: "false", autocomplete: "off", value: this.pattern });
    this.scope = h("p", { class: "dim scope" });
    this.bar = h("progress", { max: 1, hidden: true, "aria-label": "sessions searched" });
    this.status = h("p", { class: "total", role: "status" }, this.state);
    this.results = h("div", { class: "results" });
    replace(main, h("div", { class: "search" },
      h("form", { class: "tools", onsubmit: (e) => { e.preventDefault(); this.start(); } },
        h("label", { class: "find" }, icon("search"), this.field, h("kbd", {}, "/")),
        kinds.map(([kind, text]) => h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.in.has(kind), onchange: (e) => (e.target.checked ? this.in.add(kind) : this.in.delete(kind)) }), text)),
        h("button", { class: "button primary", type: "submit" }, "Search")),
      this.scope, this.bar, this.status, this.results));
    this.paint();
    this.field.focus();
    await this.sessions();
  }

  // sessions are those that the list shows: its filters narrow the search too.
  async sessions() {
    const list = this.app.list;
    if (!list?.sessions) {
      const answer = await get("api/sessions");
      this.all = answer.sessions;
    } else this.all = list.found();
    const some = list?.sessions && list.sessions.length !== this.all.length;
    replace(this.scope, `In ${count(this.all.length, "session")}${some ? ", those that the list shows with its filters" : ""}. Each becomes an entry of the audit log before it is searched; what you search for does not.`);
  }

  async start() {
    this.stop();
    await this.sessions();
    this.pattern = this.field.value;
    if (!this.pattern || !this.all.length) return;
    this.groups.clear();
    this.faults = [];
    this.paint();
    this.abort = new AbortController();
    this.bar.hidden = false;
    this.bar.removeAttribute("value");
    this.tell("Telling the log …");
    let n = 0, of = this.all.length, done = 0;
    try {
      await putStream("api/search", { pattern: this.pattern, sessions: this.all.map((s) => s.id), in: [...this.in] }, (line) => {
        if (line.hit) { n++; this.add(line.hit); }
        if (line.fault) this.faults.push(line);
        if (line.partial) this.faults.push({ session: line.session, fault: "not all of it could be searched: " + line.partial });
        if (line.more) this.faults.push({ session: "", fault: "there are more hits than are shown; say more in the pattern, or narrow the list" });
        if (line.of) {
          done = line.done ?? 0;
          of = line.of;
          this.bar.max = of;
          this.bar.value = done;
        }
        this.tell(`${count(n, "hit")} in ${count(this.groups.size, "session")}; ${done} of ${of} searched`);
      }, this.abort.signal);
      this.tell(n ? `${count(n, "hit")} in ${count(this.groups.size, "session")}` : "Nothing found");
    } catch (e) {
      if (e.name === "AbortError") this.tell("Stopped");
      else replace(this.status, h("span", { class: "bad" }, icon("warn"), visible(e.message)));
    }
    this.bar.hidden = true;
    this.paint();
  }

  tell(text) {
    this.state = text;
    replace(this.status, text);
  }

  add(hit) {
    const group = this.groups.get(hit.session) ?? [];
    group.push(hit);
    this.groups.set(hit.session, group);
    this.pending ??= requestAnimationFrame(() => { this.pending = undefined; this.paint(); });
  }

  paint() {
    if (!this.groups.size && !this.state) {
      replace(this.results, h("div", { class: "empty" }, icon("search"), h("h2", {}, "Find a word in every session"),
        h("p", {}, "In what was on screens, in commands and in names of files. Recordings are decrypted on this machine, and nowhere else.")));
      return;
    }
    replace(this.results, (this.faults ?? []).map((f) => h("p", { class: "bad" }, icon("warn"), f.session ? [said(f.session), ": "] : " ", visible(f.fault))),
      [...this.groups].map(([id, hits]) => this.group(id, hits)));
  }

  group(id, hits) {
    const s = this.all.find((x) => x.id === id), [account, host] = s ? target(s) : ["", ""], started = s && new Date(s.started);
    return h("section", { class: "group" },
      h("h2", {}, s ? [face(s.person), said(s.person), " ", h("span", { class: "where" }, said(account, { class: "account" }), h("span", { class: "at" }, "@"), said(host)), h("span", { class: "dim" }, `${dayName(started, new Date())}, ${shortClock(started)}`)] : said(id),
        h("span", { class: "count" }, hits.length)),
      h("ol", { class: "things" }, hits.slice(0, 50).map((x) => h("li", {}, h("a", { class: "thing", href: `#${encodeURIComponent(id)}@${x.at}/${x.channel}` },
        h("span", { class: "when" }, position(x.at)), h("span", { class: "what" }, said(x.before), h("mark", {}, visible(x.text)), said(x.after)), h("span", { class: "dim" }, visible(x.kind)))))),
      hits.length > 50 ? h("p", { class: "dim" }, `and ${hits.length - 50} more; open the session and search there`) : null);
  }

  stop() { this.abort?.abort(); }
  close() {}

  written(e) {
    if (e.key === "Escape") { e.target.blur(); this.stop(); return true; }
    return false;
  }

  key(e) {
    const all = [...this.results.querySelectorAll("a.thing")], i = all.indexOf(document.activeElement);
    if (e.key === "/") this.field.focus();
    else if (e.key === "j" || e.key === "ArrowDown") all[Math.min(all.length - 1, i + 1)]?.focus();
    else if (e.key === "k" || e.key === "ArrowUp") all[Math.max(0, i - 1)]?.focus();
    else if (e.key === "Escape") this.app.go("");
    else return false;
    return true;
  }
}
