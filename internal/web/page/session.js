// One session: what was seen, when what happened, who let it be, and whether the recording is what was signed.

import { announce, h, icon, replace, said, visible } from "./dom.js";
import { put, putStream, stream } from "./api.js";
import { clock, dayName, ended, long, position, stamp, took } from "./format.js";
import { Playback, Silence, Tape } from "./playback.js";
import { Log, Terminal, Transcript } from "./screens.js";
import { Timeline } from "./timeline.js";
import { Happenings } from "./happenings.js";
import { panels } from "./panels.js";
import { face, target } from "./list.js";

const speeds = [0.25, 0.5, 1, 1.5, 2, 4, 8, 16];

export class Session {
  constructor(app, main, id, moment) {
    this.app = app;
    this.main = main;
    this.id = id;
    this.moment = moment;
    this.abort = new AbortController();
    this.hits = [];
    this.tab = "commands";
    document.title = "postern · " + id;
    replace(main, h("div", { class: "loading" }, h("p", {}, "Telling the log, and opening ", said(id), " …"),
      h("p", { class: "dim later" }, "postern may be asking for a passphrase or a touch of your key on its terminal.")));
    this.open();
  }

  async open(again = false) {
    try {
      this.detail = await put("api/open", { session: this.id, again }, this.abort.signal);
      this.now = new Date();
      this.happened = new Happenings();
      this.proof = { read: 0, segments: this.detail.outline.segments, checked: false };
      this.paint();
      this.listen();
      await this.choose(undefined, this.moment?.at ?? 0); // of channels the index tells, a little later
    } catch (e) {
      if (e.name === "AbortError") return;
      this.failed(e);
    }
  }

  failed(e) {
    if (!this.stage) {
      replace(this.main, h("div", { class: "fault", role: "alert" }, icon("warn"), h("h2", {}, "This session cannot be shown"), h("p", {}, visible(e.message)),
        h("a", { class: "button", href: "#" }, "All sessions")));
      return;
    }
    replace(this.note, icon("warn"), h("span", {}, visible(e.message)),
      h("button", { class: "link", type: "button", onclick: () => this.reload() }, "open it again"));
    this.note.hidden = false;
    this.note.setAttribute("role", "alert");
  }

  // listen takes the index as it is found and the verification as it goes.
  async listen() {
    let settled = false;
    try {
      await stream(`api/session/${encodeURIComponent(this.id)}/events`, (news) => {
        if (news.entry) {
          this.happened.add(news.entry, news.again);
          if (!news.again) this.timeline.add(news.entry.begin, news.entry.end, news.entry.activity, news.entry.output);
        }
        if (news.length > this.playback.length) this.grow(news.length);
        if (news.index) {
          settled = true;
          if (!this.turned) this.tab = ["commands", "files", "forwards"].find((name) => this.happened[name].some((x) => !/^subsystem /.test(x.text ?? ""))) ?? "commands";
          if (news.index !== "whole") this.failed(new Error("The index is not whole: " + news.index));
          this.settle();
        }
        if (news.proof) {
          this.proof = news.proof;
          this.paintProof();
        }
        if (!settled || news.again) this.soon();
      }, this.abort.signal);
    } catch (e) {
      if (e.name !== "AbortError") this.failed(e);
    }
  }

  soon() {
    this.pending ??= setTimeout(() => { this.pending = undefined; this.settle(); }, 150);
  }

  // settle shows what is known by now, and changes the channel only when nothing was to be seen of the first.
  settle() {
    this.paintTabs();
    this.paintChannels();
    this.timeline.soon();
    if (this.screen instanceof Log) {
      const wanted = this.moment?.channel;
      const there = wanted === undefined ? this.happened.channels.length > 0 : this.happened.channels.some((c) => c.number === wanted);
      if (there && this.picked === undefined) this.choose(wanted ?? this.happened.channels[0].number, this.playback.time);
      else { this.screen.happenings = this.happened.list; this.screen.fresh = true; this.playback.seek(this.playback.time); }
    }
  }

  grow(length) {
    this.playback.length = this.timeline.length = length;
    this.clockwork();
    this.timeline.soon();
  }

  paint() {
    const d = this.detail;
    this.playback = new Playback({ length: Math.max(d.length, 0.001), changed: () => this.clockwork(), failed: (e) => this.failed(e) });
    this.timeline = new Timeline({ length: d.length, seek: (t) => this.seek(t), things: () => this.happened.list, hits: () => this.hits });
    this.badge = h("button", { class: "badge", type: "button", onclick: () => this.choosePanel("verification") });
    this.stage = h("div", { class: "stage", tabindex: "-1" });
    this.note = h("div", { class: "note", hidden: true });
    this.warning = h("div", { class: "warning", role: "alert", hidden: true });
    this.inexact = h("p", { class: "inexact", hidden: true }, "Painted from the middle on: what is older than some minutes may be missing until it is drawn again.");
    this.channels = h("div", { class: "channels", role: "tablist", "aria-label": "Channels" });
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "What is known of the session" });
    this.panel = h("div", { class: "panel", role: "tabpanel", id: "panel", tabindex: "-1" });
    this.field = h("input", {
      type: "search", class: "field", placeholder: "Search in this session", "aria-label": "Search in this session", spellcheck: "false", autocomplete: "off",
    });
    this.found = h("span", { class: "found", role: "status" });
    replace(this.main, h("div", { class: "session" },
      h("div", { class: "upper" }, this.header(), this.warning),
      h("div", { class: "watch" }, this.channels, this.note, this.inexact, this.stage, this.controls(), this.timeline.el, legend()),
      h("aside", { class: "side", "aria-label": "Details" },
        h("label", { class: "find" }, icon("search"), this.field, this.found, h("kbd", {}, "/")), this.tabs, this.panel)));
    this.paintTabs();
    this.paintProof();
    this.clockwork();
  }

  header() {
    const { session: s, request, votes, outline } = this.detail;
    const [account, host] = target(s), end = ended(s, this.now), started = new Date(s.started);
    return h("header", { class: "top" },
      h("a", { class: "plain back", href: "#", "aria-label": "All sessions", title: "All sessions (Esc)" }, icon("back")),
      h("div", { class: "title" },
        h("h1", {}, face(s.person), said(s.person), h("span", { class: "arrow", "aria-label": "as" }, "→"), said(account, { class: "account" }), h("span", { class: "at" }, "@"), said(host),
          h("span", { class: "end end-" + end.kind, title: visible(end.text) }, end.kind === "live" ? h("span", { class: "pulse" }) : null, said(end.text))),
        h("p", { class: "facts" }, h("code", {}, said(s.id)), h("span", { title: stamp(started) }, dayName(started, this.now) + ", " + clock(started)),
          h("span", {}, (end.kind === "live" ? "for " : "took ") + long(took(s, this.now))), h("span", {}, "from ", said(s.client), " through ", said(s.bastion)),
          outline.live ? h("button", { class: "link", type: "button", onclick: () => this.reload() }, icon("reload"), "what is sealed so far; load again") : null,
          outline.live ? h("span", {}, "to see it while it runs: ", h("code", {}, "postern watch ", said(s.id))) : null)),
      h("div", { class: "because" },
        h("p", { class: "reason" }, request ? said(request.reason, { class: "quote" }) : "The request is not known: " + visible(this.detail.unknown)),
        h("p", { class: "approvals" }, h("code", {}, said(s.request)),
          votes.map((v) => h("span", { class: "vote vote-" + (v.good ? v.decision : "bad"), title: v.good ? "signature verified" : visible(v.why) },
            icon(v.good ? (v.decision === "approve" ? "check" : "cross") : "warn"), v.decision === "approve" ? null : v.decision + " ", said(v.person))),
          request && !votes.length ? h("span", { class: "vote" }, "no approval was needed") : null)),
      this.badge);
  }

  reload() {
    const at = this.playback.time;
    this.abort.abort();
    this.abort = new AbortController();
    this.close(false);
    this.moment = { at, channel: this.channel?.number };
    this.open(true);
  }

  controls() {
    const button = (shape, label, fn, text) => h("button", { class: "plain", type: "button", "aria-label": label, title: label, onclick: fn }, shape && icon(shape), text);
    this.playButton = button("play", "Play (Space)", () => this.playback.toggle());
    this.playButton.classList.add("main");
    this.clockEl = h("span", { class: "time" });
    this.wallEl = h("span", { class: "wall" });
    this.speedEl = h("select", { "aria-label": "Speed", title: "Speed (< >)", onchange: (e) => this.faster(Number(e.target.value)) },
      speeds.map((s) => h("option", { value: s, selected: s === 1 }, s + "×")));
    this.idleEl = h("button", { class: "toggle", type: "button", "aria-pressed": "true", title: "Pauses are shortened to 2 seconds (i)", onclick: () => this.idle() }, icon("idle"), "skip pauses");
    return h("div", { class: "controls", role: "group", "aria-label": "Player" },
      button("previous", "Command before ([)", () => this.hop("command", -1)),
      button("back5", "5 seconds back (←)", () => this.seek(this.playback.time - 5)),
      this.playButton,
      button("on5", "5 seconds on (→)", () => this.seek(this.playback.time + 5)),
      button("next", "Next command (])", () => this.hop("command", 1)),
      this.clockEl, this.wallEl, h("span", { class: "gap" }), this.idleEl, this.speedEl,
      button("full", "Whole screen (z)", () => this.whole()));
  }

  clockwork() {
    const p = this.playback, wall = new Date(new Date(this.detail.header.started ?? this.detail.session.started).getTime() + p.time * 1000);
    replace(this.clockEl, h("b", {}, position(p.time, true)), " / " + position(p.length));
    this.wallEl.textContent = clock(wall);
    this.wallEl.title = "the time of day: " + stamp(wall);
    if (this.showsPlaying !== p.playing) {
      this.showsPlaying = p.playing;
      replace(this.playButton, icon(p.playing ? "pause" : "play"));
      this.playButton.setAttribute("aria-label", p.playing ? "Pause (Space)" : "Play (Space)");
    }
    this.stage.classList.toggle("waiting", p.waiting);
    if (this.start && (p.playing || p.time > 0)) {
      this.start.remove();
      this.start = undefined;
    }
    this.timeline.move(p.time);
    this.current();
  }

  // current marks where one is in the list of the panel.
  current() {
    const rows = this.rows ?? [];
    while (rows.length && rows.at(-1).at <= this.playback.time && this.more?.());
    let at = -1;
    for (let i = 0; i < rows.length && rows[i].at <= this.playback.time + 1e-6; i++) at = i;
    if (this.tab === "hits") at = this.hitAt;
    if (at === this.marked) return;
    rows[this.marked]?.el.classList.remove("now");
    rows[at]?.el.classList.add("now");
    this.marked = at;
    rows[at]?.el.scrollIntoView({ block: "nearest" });
  }

  seek(t) {
    this.note.hidden = true;
    return this.playback.seek(t);
  }

  jump({ at, channel }) {
    if (channel !== undefined && channel !== this.channel?.number) return this.choose(channel, at);
    return this.seek(at);
  }

  // hop goes to the next thing of a lane, or the one before.
  hop(lane, way) {
    const list = lane === "hit" ? this.hits : this.happened.list.filter((x) => x.lane === lane && x.kind !== "end");
    const t = this.playback.time;
    const next = way > 0 ? list.find((x) => x.at > t + 0.01) : list.findLast((x) => x.at < t - 0.3);
    if (!next) return announce(way > 0 ? "nothing further on" : "nothing before");
    if (lane === "hit") return this.hit(this.hits.indexOf(next));
    announce(next.label);
    this.jump({ at: next.at, channel: this.happened.channels.some((c) => c.number === next.channel) ? next.channel : undefined });
  }

  faster(speed) {
    this.playback.speed = speed;
    this.speedEl.value = speed;
    announce(speed + " times");
  }

  idle() {
    this.playback.skip = !this.playback.skip;
    this.idleEl.setAttribute("aria-pressed", this.playback.skip);
    announce(this.playback.skip ? "pauses are skipped" : "pauses are as long as they were");
  }

  whole() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.stage.parentElement.requestFullscreen();
  }

  // choose shows a channel; without one, the first that has something to show.
  async choose(number, at) {
    const channels = this.happened.channels;
    this.picked = number;
    this.channel = number === -1 ? undefined : channels.find((c) => c.number === number) ?? channels[0];
    this.screen?.close();
    this.inexact.hidden = true;
    this.playback.stop();
    this.stage.textContent = "";
    this.stage.classList.toggle("terminal", this.channel?.kind === "terminal");
    const jump = (t) => this.seek(t);
    if (!this.channel) this.screen = new Log(this.stage, this.happened.list, jump, this.detail.outline.live
      ? `Nothing of this session is sealed yet: that happens within a minute. postern watch ${this.id} shows it as it goes.` : "Nothing is on record of this session but that it was.");
    else if (this.channel.kind === "terminal") this.screen = new Terminal(this.stage, (exact) => { this.inexact.hidden = exact; }, this.app.about.keystrokes);
    else this.screen = new Transcript(this.stage, jump);
    this.paintChannels();
    await this.screen.ready;
    if (this.channel?.kind === "terminal" && at === 0) this.stage.append(this.startButton());
    await this.playback.load(this.channel ? new Tape(this.id, this.channel.number) : new Silence(this.playback.length), this.screen, at);
  }

  startButton() {
    this.start = h("button", { class: "start", type: "button", tabindex: "-1", "aria-label": "Play" }, h("span", {}, icon("play")));
    this.start.addEventListener("click", () => this.playback.play());
    return this.start;
  }

  paintChannels() {
    const tab = (c, label, number) => h("button", {
      type: "button", role: "tab", "aria-selected": String(c === this.channel), title: label, onclick: () => this.choose(number, this.playback.time),
    }, icon(c ? (c.kind === "terminal" ? "terminal" : "note") : "file"), h("span", {}, label));
    const list = this.happened.channels;
    replace(this.channels, list.map((c) => tab(c, visible(c.label), c.number)), tab(undefined, "what happened", -1));
  }

  paintTabs() {
    replace(this.tabs, panels.map((p, i) => {
      const n = p.count?.(this);
      return n === 0 && p.optional ? null : h("button", {
        type: "button", role: "tab", id: "tab-" + p.name, "aria-controls": "panel", "aria-selected": String(p.name === this.tab), title: `${p.title} (${i + 1})`,
        class: p.alarm?.(this) ? "alarm" : undefined, onclick: () => this.choosePanel(p.name),
      }, p.title, n ? h("span", { class: "count" }, n) : null);
    }));
    this.turn(this.tab);
  }

  choosePanel(name) {
    this.turned = true;
    this.turn(name);
  }

  turn(name) {
    this.tab = name;
    for (const b of this.tabs.children) b.setAttribute("aria-selected", String(b.id === "tab-" + name));
    const tab = document.getElementById("tab-" + name);
    if (tab) this.tabs.scrollLeft = Math.max(0, tab.offsetLeft - this.tabs.offsetLeft + tab.offsetWidth - this.tabs.clientWidth);
    this.panel.setAttribute("aria-labelledby", "tab-" + name);
    this.rows = [];
    this.more = this.marked = undefined;
    panels.find((p) => p.name === name).paint(this, this.panel);
    this.current();
  }

  paintProof() {
    const { outline } = this.detail, p = this.proof;
    const wrong = outline.damage || outline.logged || p.fault;
    this.warning.hidden = !wrong;
    if (wrong && this.warned !== wrong) {
      this.warned = wrong;
      replace(this.warning, icon("warn"), h("p", {}, h("b", {}, "Do not rely on this: "), visible(wrong)), h("p", {}, "What is good of it is shown all the same."));
    }
    const state = wrong ? ["bad", "warn", "does not verify"]
      : !p.checked ? ["going", "shield", `verifying ${p.segments ? Math.floor(p.read / p.segments * 100) : 0} %`]
      : outline.live ? ["live", "live", "verified so far"] : outline.interrupted ? ["cut", "warn", "verified, interrupted"] : ["good", "check", "verified"];
    if (state[0] !== "going") this.app.proven.set(this.id, { kind: state[0], icon: state[1], text: state[2] });
    this.badge.className = "badge badge-" + state[0];
    replace(this.badge, icon(state[1]), h("span", {}, state[2]));
    if (this.tab === "verification") this.turn("verification");
  }

  // search looks through this session.
  async search() {
    const pattern = this.field.value;
    this.searching?.abort();
    this.hits = [];
    this.hitAt = -1;
    replace(this.found, "");
    this.searched = pattern;
    if (pattern) {
      this.searching = new AbortController();
      replace(this.found, "…");
      try {
        await putStream("api/search", { pattern, sessions: [this.id], in: [] }, (line) => {
          if (line.hit) { this.hits.push(line.hit); this.soonHits(); }
          if (line.fault) this.failed(new Error(line.fault));
          if (line.partial) this.failed(new Error("Not all of it could be searched: " + line.partial));
          if (line.more) this.failed(new Error("There are more hits than are shown; say more in the pattern."));
        }, this.searching.signal);
      } catch (e) {
        if (e.name === "AbortError") return;
        replace(this.found, h("span", { class: "bad" }, visible(e.message)));
        return;
      }
      replace(this.found, this.hits.length ? "" : "nothing");
    }
    this.hits.sort((a, b) => a.at - b.at);
    this.tab = this.hits.length ? "hits" : this.tab === "hits" ? "commands" : this.tab;
    this.paintTabs();
    this.timeline.soon();
    if (this.hits.length) this.hit(Math.max(0, this.hits.findIndex((x) => x.at >= this.playback.time)));
  }

  soonHits() {
    replace(this.found, this.hits.length + " …");
    this.timeline.soon();
  }

  hit(i) {
    const hit = this.hits[i];
    if (!hit) return;
    this.hitAt = i;
    replace(this.found, `${i + 1} / ${this.hits.length}`);
    this.current();
    const shown = this.happened.channels.some((c) => c.number === hit.channel);
    this.jump({ at: hit.at, channel: shown ? hit.channel : undefined });
  }

  written(e) {
    if (e.key === "Escape") {
      if (e.target === this.field && this.field.value) { this.field.value = ""; this.search(); }
      e.target.blur();
      this.stage.focus();
    } else if (e.key === "Enter" && e.target === this.field) {
      if (this.searched === this.field.value && this.hits.length) this.hit((this.hitAt + (e.shiftKey ? this.hits.length - 1 : 1)) % this.hits.length);
      else this.search();
    } else return false;
    return true;
  }

  key(e) {
    if (!this.stage) return e.key === "Escape" ? (this.app.go(""), true) : false;
    const p = this.playback, tab = panels[Number(e.key) - 1];
    const does = {
      " ": () => p.toggle(), Enter: () => p.toggle(), Home: () => this.seek(0), End: () => this.seek(p.length),
      ArrowLeft: () => this.seek(p.time - (e.shiftKey ? 60 : 5)), ArrowRight: () => this.seek(p.time + (e.shiftKey ? 60 : 5)),
      "[": () => this.hop("command", -1), "]": () => this.hop("command", 1), f: () => this.hop("file", 1), F: () => this.hop("file", -1),
      w: () => this.hop("mark", 1), W: () => this.hop("mark", -1), n: () => this.hop("hit", 1), N: () => this.hop("hit", -1),
      ",": () => this.one(-1), ".": () => this.one(1), "/": () => { this.field.focus(); this.field.select(); }, i: () => this.idle(), z: () => this.whole(),
      ">": () => this.faster(speeds[Math.min(speeds.length - 1, speeds.indexOf(p.speed) + 1)]), "<": () => this.faster(speeds[Math.max(0, speeds.indexOf(p.speed) - 1)]),
      c: () => this.around(), Escape: () => this.escape(), j: () => this.walk(1), k: () => this.walk(-1),
    }[e.key];
    if (does) does();
    else if (tab && !(tab.optional && !tab.count(this))) this.choosePanel(tab.name);
    else return false;
    return true;
  }

  // one goes to the next thing that was printed, or the one before.
  one(way) {
    const p = this.playback, events = p.tape.events;
    p.stop();
    const next = way > 0 ? events.find((x) => x[0] > p.time) : events.findLast((x) => x[0] < p.time);
    if (next) this.seek(next[0]);
  }

  // walk moves through the list of the panel.
  walk(way) {
    const i = Math.min(this.rows.length - 1, Math.max(0, (this.marked ?? -1) + way));
    this.rows[i]?.el.click();
    this.rows[i]?.el.scrollIntoView({ block: "nearest" });
  }

  around() {
    const all = [...this.happened.channels, undefined];
    const next = all[(all.indexOf(this.channel) + 1) % all.length];
    this.choose(next ? next.number : -1, this.playback.time);
  }

  escape() {
    if (this.hits.length) { this.field.value = ""; this.search(); } else this.app.go("");
  }

  repaint() { this.timeline?.soon(); }

  close(all = true) {
    if (all) this.abort.abort();
    this.searching?.abort();
    this.playback?.close();
    this.screen?.close();
    this.screen = undefined;
    this.timeline?.close();
  }
}

function legend() {
  const item = (kind, text) => h("span", { class: "key key-" + kind }, text);
  return h("p", { class: "legend", "aria-hidden": "true" }, item("command", "command"), item("down", "file from the host"), item("up", "file to the host"),
    item("forward", "forward"), item("warn", "refused, note"), item("bar", "output"));
}
