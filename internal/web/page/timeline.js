// The session at a glance: how much was printed when, what was run, which files moved, what was refused, and how it ended.

import { h, replace } from "./dom.js";
import { position } from "./format.js";

const height = 104;
const lanes = { mark: 11, file: 25, command: 39 }; // middle of each
const top = 50, bottom = 86;

export class Timeline {
  constructor({ length, seek, things, hits }) {
    this.length = Math.max(length, 0.001);
    this.things = things; // () => happenings in order
    this.hits = hits;
    this.activity = [];
    this.time = 0;
    this.canvas = h("canvas", { class: "paint", "aria-hidden": "true" });
    this.head = h("div", { class: "playhead", "aria-hidden": "true" });
    this.tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.el = h("div", {
      class: "timeline", role: "slider", tabindex: "0", "aria-label": "Timeline of the session", "aria-valuemin": "0",
    }, this.canvas, this.head, this.tip);
    const to = (e) => this.at(e.clientX);
    this.el.addEventListener("pointerdown", (e) => {
      if (e.button !== 0) return;
      this.el.setPointerCapture(e.pointerId);
      this.dragging = true;
      const near = this.near(e.clientX, e.clientY, 6);
      seek(near ? near.at : to(e));
    });
    this.el.addEventListener("pointermove", (e) => {
      this.hover(e.clientX, e.clientY);
      if (this.dragging) seek(to(e));
    });
    this.el.addEventListener("pointerup", () => { this.dragging = false; });
    this.el.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.observer = new ResizeObserver(() => this.paint());
    this.observer.observe(this.el);
  }

  at(x) {
    const box = this.el.getBoundingClientRect();
    return Math.min(1, Math.max(0, (x - box.left) / box.width)) * this.length;
  }

  // near is the thing under the pointer.
  near(x, y, reach) {
    const box = this.el.getBoundingClientRect();
    let best = null, distance = reach;
    for (const thing of this.things()) {
      if (y !== undefined && Math.abs((lanes[thing.lane] ?? -99) - (y - box.top)) > 8) continue;
      const d = Math.abs(thing.at / this.length * box.width - (x - box.left));
      if (d < distance) { distance = d; best = thing; }
    }
    return best;
  }

  hover(x, y) {
    const box = this.el.getBoundingClientRect();
    const near = this.near(x, y, 6) ?? this.near(x, undefined, 4);
    replace(this.tip, h("b", {}, position(near ? near.at : this.at(x), true)), near ? h("span", { class: "tip-" + near.kind }, near.label) : null);
    this.tip.hidden = false;
    const width = this.tip.offsetWidth;
    this.tip.style.left = Math.min(Math.max(0, x - box.left - width / 2), box.width - width) + "px";
  }

  // add is bytes of output in each second since begin.
  add(begin, end, activity, output) {
    if (activity?.length) {
      const rest = Math.ceil(end - begin) - activity.length; // the last number is of all that follows
      activity.forEach((n, i) => {
        if (!n) return;
        if (i < activity.length - 1 || rest < 1) this.activity.push([begin + i, n]);
        else for (let k = 0; k <= rest; k++) this.activity.push([begin + i + k, n / (rest + 1)]);
      });
    }
    else if (output) {
      const seconds = Math.max(1, Math.ceil(end - begin));
      for (let i = 0; i < seconds; i++) this.activity.push([begin + i, output / seconds]);
    }
    this.soon();
  }

  soon() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.paint(); });
  }

  move(time) {
    this.time = time;
    this.head.style.transform = `translateX(${time / this.length * this.el.clientWidth}px)`;
    this.el.setAttribute("aria-valuemax", this.length.toFixed(1));
    this.el.setAttribute("aria-valuenow", time.toFixed(1));
    this.el.setAttribute("aria-valuetext", `${position(time)} of ${position(this.length)}`);
  }

  paint() {
    const width = this.el.clientWidth, dots = window.devicePixelRatio || 1;
    if (!width) return;
    this.canvas.width = width * dots;
    this.canvas.height = height * dots;
    const c = this.canvas.getContext("2d");
    c.scale(dots, dots);
    const style = getComputedStyle(this.el);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    this.bars(c, width, colour);
    this.axis(c, width, colour);
    for (const thing of this.things()) this.mark(c, thing, thing.at / this.length * width, colour);
    c.fillStyle = colour("hit");
    for (const hit of this.hits()) c.fillRect(hit.at / this.length * width - 1, top - 2, 2, bottom - top + 4);
    this.move(this.time);
  }

  // bars have a height by the logarithm: a listing and a dump of a database are both seen.
  bars(c, width, colour) {
    const n = Math.max(1, Math.min(Math.floor(width / 3), Math.ceil(this.length))), step = width / n, sums = new Float64Array(n);
    for (const [at, bytes] of this.activity) {
      const from = Math.floor(at / this.length * n), to = Math.max(from + 1, Math.ceil((at + 1) / this.length * n));
      for (let i = from; i < to && i < n; i++) sums[i] += bytes / (to - from);
    }
    const most = Math.log1p(Math.max(...sums, 1));
    c.fillStyle = colour("bar");
    for (let i = 0; i < n; i++) {
      if (!sums[i]) continue;
      const tall = Math.max(2, Math.log1p(sums[i]) / most * (bottom - top));
      c.fillRect(i * step, bottom - tall, step - 1, tall);
    }
    c.fillStyle = colour("line");
    c.fillRect(0, bottom, width, 1);
  }

  axis(c, width, colour) {
    const steps = [0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
    const step = steps.find((s) => s / this.length * width > 74) ?? 86400;
    c.fillStyle = colour("muted");
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "top";
    for (let i = 0, t = 0; t <= this.length; t = ++i * step) {
      const x = t / this.length * width;
      c.fillRect(x, bottom + 1, 1, 3);
      const text = position(t, step < 1);
      if (x + c.measureText(text).width + 4 < width) c.fillText(text, x + 3, bottom + 6);
    }
  }

  mark(c, thing, x, colour) {
    const y = lanes[thing.lane];
    c.fillStyle = colour(thing.colour);
    c.beginPath();
    if (thing.shape === "tick") c.rect(x - 1, y - 5, 2, 11);
    else if (thing.shape === "down") { c.moveTo(x - 5, y - 4); c.lineTo(x + 5, y - 4); c.lineTo(x, y + 5); }
    else if (thing.shape === "up") { c.moveTo(x - 5, y + 4); c.lineTo(x + 5, y + 4); c.lineTo(x, y - 5); }
    else if (thing.shape === "diamond") { c.moveTo(x, y - 5); c.lineTo(x + 5, y); c.lineTo(x, y + 5); c.lineTo(x - 5, y); }
    else if (thing.shape === "end") c.rect(x - 3, 4, 3, bottom - 4);
    else c.arc(x, y, 3, 0, 7);
    c.fill();
  }

  close() { this.observer.disconnect(); }
}
