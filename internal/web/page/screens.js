// What a channel is shown on: a terminal, or lines of text.

import { h, replace, visible } from "./dom.js";
import { position } from "./format.js";

// Terminal is asciinema-player without its controls: it is told what to paint, and keeps no time of its own.
export class Terminal {
  constructor(el, exact, keystrokes) {
    this.fresh = true;
    this.el = el;
    this.exact = exact; // hears whether the screen is surely what it was
    this.ready = new Promise((resolve) => {
      const driver = ({ dispatch }) => {
        this.dispatch = dispatch;
        return {
          init: () => { dispatch("play"); dispatch("pause"); resolve(); },
          play: () => true, pause: () => true, seek: () => false, stop: () => {},
          getTiming: () => ({ time: 0, rate: 0, sampledAt: performance.timeOrigin + performance.now() }),
        };
      };
      this.player = window.AsciinemaPlayer.create(driver, el, {
        fit: "both", controls: false, cols: 80, rows: 24, preload: true, cursorMode: "steady", keystrokeOverlay: keystrokes,
        terminalFontFamily: '"JetBrains Mono", "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
      });
    });
  }

  reset(base) {
    this.fresh = false;
    this.exact(base.exact);
    this.size(base.columns, base.rows);
    this.dispatch("reset", { size: { cols: base.columns, rows: base.rows }, init: base.init || undefined, theme: null });
  }

  size(columns, rows) {
    this.columns = columns;
    this.rows = rows;
    this.resized?.(columns, rows);
  }

  // write paints; what was typed is shown for a moment, while it plays.
  write(events, playing) {
    let output = [];
    const flush = () => {
      if (output.length) this.dispatch("output", output.join(""));
      output = [];
    };
    for (const [, kind, data] of events) {
      if (kind === "o" || kind === "e") output.push(data);
      else if (kind === "i" && playing) this.dispatch("input", { data });
      else if (kind === "r") {
        flush();
        this.size(data[0], data[1]);
        this.dispatch("resize", { cols: data[0], rows: data[1] });
      }
    }
    flush();
  }

  close() { this.player.dispose(); }
}

const escapes = /\x1b(?:\[[0-9;:?!]*[ -/]*[@-~]|[()*+\-./#].|.)/g;

// Transcript is what a program without a terminal printed: all lines with their times, those that are still to come paler.
export class Transcript {
  constructor(el, seek) {
    this.fresh = true;
    this.seek = seek;
    this.el = el;
    this.list = h("ol", { class: "lines", "aria-label": "what was printed" });
    this.box = h("div", { class: "transcript", tabindex: "0" }, this.list);
    replace(el, this.box);
    this.ready = Promise.resolve();
  }

  // reset shows what the tape has, and fetches more as long as a person might read it.
  reset(base) {
    this.fresh = false;
    this.list.textContent = "";
    this.lines = [];
    this.open = {};
    this.shown = this.taken = 0;
    if (!base.exact) this.line(0, "n", "… what came before is not shown here");
    this.fetch(base);
  }

  async fetch(base) {
    for (;;) {
      const events = this.tape.events;
      this.take(events.slice(this.taken));
      this.taken = events.length;
      if (this.tape.whole || !this.tape.base || this.lines.length > 4000) break;
      try {
        await this.tape.more();
      } catch {
        break; // the playback tells of it when it comes there
      }
      if (this.tape.base !== base) return;
    }
    if (this.tape.whole && !this.lines.length) this.line(0, "n", "nothing was printed");
  }

  // write is of events that the tape got since.
  write() {
    if (this.tape.events.length > this.taken && this.lines.length > 4000) {
      this.take(this.tape.events.slice(this.taken));
      this.taken = this.tape.events.length;
    }
  }

  take(events) {
    for (const [at, kind, data] of events) {
      if (kind === "r") continue;
      if (kind === "o" || kind === "e") this.text(at, kind, data);
      else {
        this.open = {};
        this.line(at, kind, kind === "i" ? "typed: " + visible(data) : visible(data));
      }
    }
  }

  // A line goes on until it is ended, also when the next piece of it comes later.
  text(at, kind, data) {
    const parts = data.replace(escapes, "").replace(/\r\n/g, "\n").split("\n");
    parts.forEach((part, i) => {
      if (i > 0) this.open[kind] = null;
      if (!part && i === parts.length - 1) return;
      this.open[kind] ??= this.line(at, kind, "");
      this.open[kind].append(visible(part.slice(part.lastIndexOf("\r") + 1)));
    });
  }

  line(at, kind, text) {
    const body = h("span", { class: "said", dir: "auto" }, text);
    const el = h("li", { class: "line-" + kind + " to-come" },
      h("button", { class: "when", type: "button", tabindex: "-1", onclick: () => this.seek(at) }, position(at, true)), body);
    this.list.append(el);
    this.lines.push({ at, el });
    return body;
  }

  settled(time) {
    if (time === 0) time = Infinity; // nobody has begun to watch, so nothing is still to come
    let n = this.shown;
    while (n < this.lines.length && this.lines[n].at <= time + 1e-6) this.lines[n++].el.classList.remove("to-come");
    while (n > 0 && this.lines[n - 1].at > time + 1e-6) this.lines[--n].el.classList.add("to-come");
    if (n === this.shown) return;
    this.shown = n;
    if (time !== Infinity) this.lines[n - 1]?.el.scrollIntoView({ block: "nearest" });
  }

  close() { this.el.textContent = ""; }
}

// Log is the session as a list of what happened, for those that printed nothing.
export class Log {
  constructor(el, happenings, seek, empty) {
    this.fresh = true;
    this.empty = empty;
    this.happenings = happenings;
    this.list = h("ol", { class: "lines log", "aria-label": "what happened" });
    this.box = h("div", { class: "transcript", tabindex: "0" }, this.list);
    replace(el, this.box);
    this.el = el;
    this.seek = seek;
    this.ready = Promise.resolve();
  }

  reset() {
    this.fresh = false;
    this.rows = this.happenings.map((x) => h("li", { class: "line-" + x.kind + " to-come" },
      h("button", { class: "when", tabindex: "-1", onclick: () => this.seek(x.at) }, position(x.at, true)),
      h("span", { class: "said" }, x.row())));
    replace(this.list, this.rows.length ? this.rows : h("li", { class: "empty" }, this.empty));
    this.shown = 0;
    this.still = undefined;
  }

  write() {}

  settled(time) {
    let n = 0;
    while (n < this.happenings.length && this.happenings[n].at <= time + 1e-6) n++;
    const still = time === 0; // nobody has begun to watch, so nothing is still to come
    if (n === this.shown && still === this.still) return;
    this.rows.forEach((row, i) => row.classList.toggle("to-come", i >= n && !still));
    this.rows.forEach((row, i) => row.classList.toggle("now", i === n - 1 && !still));
    if (!still) this.rows[Math.max(0, n - 1)]?.scrollIntoView({ block: "nearest" });
    this.shown = n;
    this.still = still;
  }

  close() { this.el.textContent = ""; }
}
