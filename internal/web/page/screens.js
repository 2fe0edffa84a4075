// What a channel is shown on: a terminal, or lines of text.

import { h, replace, visible } from "./dom.js";
import { position } from "./format.js";

// Terminal is asciinema-player without its controls: it is told what to paint, and keeps no time of its own.
export class Terminal {
  constructor(el) {
    this.fresh = true;
    this.el = el;
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
        fit: "both", controls: false, cols: 80, rows: 24, preload: true, cursorMode: "steady", keystrokeOverlay: false,
        terminalFontFamily: '"JetBrains Mono", "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
      });
    });
  }

  reset(base) {
    this.fresh = false;
    this.size(base.columns, base.rows);
    this.dispatch("reset", { size: { cols: base.columns, rows: base.rows }, init: base.init || undefined, theme: null });
  }

  size(columns, rows) {
    this.columns = columns;
    this.rows = rows;
    this.resized?.(columns, rows);
  }

  write(events) {
    let output = [];
    const flush = () => {
      if (output.length) this.dispatch("output", output.join(""));
      output = [];
    };
    for (const [, kind, data] of events) {
      if (kind === "o" || kind === "e") output.push(data);
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

// Transcript is what a program without a terminal printed: lines with their times, its complaints marked.
export class Transcript {
  constructor(el, seek) {
    this.fresh = true;
    this.seek = seek;
    this.el = el;
    this.list = h("ol", { class: "lines", "aria-label": "what was printed" });
    replace(el, h("div", { class: "transcript", tabindex: "0" }, this.list));
    this.ready = Promise.resolve();
  }

  reset(base) {
    this.fresh = false;
    this.list.textContent = "";
    this.open = {};
    if (!base.exact) this.line(base.events[0]?.[0] ?? 0, "n", "… what came before is not shown");
  }

  write(events) {
    const box = this.el.firstChild;
    const low = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
    for (const [at, kind, data] of events) {
      if (kind === "r") continue;
      if (kind === "n" || kind === "x" || kind === "i") {
        this.open = {};
        this.line(at, kind, kind === "i" ? "typed: " + visible(data) : visible(data));
        continue;
      }
      this.text(at, kind, data);
    }
    while (this.list.childElementCount > 5000) this.list.firstChild.remove();
    if (low) box.scrollTop = box.scrollHeight;
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
    this.list.append(h("li", { class: "line-" + kind },
      h("button", { class: "when", tabindex: "-1", onclick: () => this.seek(at) }, position(at, true)), body));
    return body;
  }

  close() { this.el.textContent = ""; }
}

// Log is the session as a list of what happened, for those that printed nothing.
export class Log {
  constructor(el, happenings, seek) {
    this.fresh = true;
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
    replace(this.list, this.rows.length ? this.rows : h("li", { class: "empty" }, "Nothing is on record of this session but that it was."));
    this.shown = 0;
  }

  write() {}

  settled(time) {
    let n = 0;
    while (n < this.happenings.length && this.happenings[n].at <= time + 1e-6) n++;
    if (n === this.shown) return;
    this.rows.forEach((row, i) => row.classList.toggle("to-come", i >= n));
    this.rows.forEach((row, i) => row.classList.toggle("now", i === n - 1));
    this.rows[Math.max(0, n - 1)]?.scrollIntoView({ block: "nearest" });
    this.shown = n;
  }

  close() { this.el.textContent = ""; }
}
