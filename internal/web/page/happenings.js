// What the index of a session says, as things in time: for the timeline, the panels and the log.

import { h, said, visible } from "./dom.js";
import { bytes } from "./format.js";

export class Happenings {
  constructor() {
    this.entries = [];
    this.clear();
  }

  clear() {
    this.commands = [];
    this.files = [];
    this.forwards = [];
    this.marks = [];
    this.things = [];
    this.sorted = true;
    this.channels = [];
    this.seen = new Map(); // channels by number
    this.asked = new Map(); // what a channel was asked to run
  }

  // list is everything in the order of its time. A long session has thousands of entries, so it is not sorted with each.
  get list() {
    if (!this.sorted) {
      this.things.sort((a, b) => a.at - b.at);
      this.sorted = true;
    }
    return this.things;
  }

  // add takes an entry of the index, which may take the place of one that was there: then all is told anew.
  add(entry, again) {
    this.entries[entry.segment] = entry;
    if (again) {
      this.clear();
      for (const one of this.entries) this.take(one);
    } else this.take(entry);
    this.name();
  }

  take(entry) {
    const at = (x) => ({ ...x, at: x.at / 1e9 });
    for (const x of entry.lanes ?? []) this.channel(x.channel, x.terminal ? "terminal" : "text");
    for (const x of (entry.commands ?? []).map(at)) this.command(x);
    for (const x of (entry.files ?? []).map(at)) this.file(x);
    for (const x of (entry.forwards ?? []).map(at)) this.forward(x);
    for (const x of (entry.marks ?? []).map(at)) this.mark(x);
  }

  // channel is one that printed something people read.
  channel(number, kind) {
    const c = this.seen.get(number) ?? { number };
    c.kind = c.kind === "terminal" ? "terminal" : kind;
    this.seen.set(number, c);
  }

  // name numbers the terminals; what was asked to run has a name of its own.
  name() {
    this.channels = [...this.seen.values()].sort((a, b) => (a.kind === "terminal" ? 0 : 1) - (b.kind === "terminal" ? 0 : 1) || a.number - b.number);
    const terminals = this.channels.filter((c) => c.kind === "terminal").length;
    let n = 0;
    for (const c of this.channels) c.label = this.asked.get(c.number) ?? (c.kind === "terminal" ? (terminals > 1 ? `terminal ${++n}` : "terminal") : `channel ${c.number}`);
  }

  put(at, channel, thing) {
    this.things.push({ at, channel, ...thing });
    this.sorted = false;
  }

  command(x) {
    this.commands.push(x);
    if (!x.seen) this.asked.set(x.channel, x.text);
    this.put(x.at, x.channel, {
      kind: x.refused ? "denied" : "command", lane: x.refused ? "mark" : "command", shape: x.refused ? "diamond" : "tick", colour: x.refused ? "bad" : "command",
      label: (x.refused ? "refused: " : "") + visible(x.text), row: () => [h("span", { class: "verb" }, x.refused ? "refused" : "ran"), h("code", {}, said(x.text))],
    });
  }

  file(x) {
    this.files.push(x);
    const down = x.operation === "read", up = x.operation === "write";
    this.put(x.at, x.channel, {
      kind: x.denied ? "denied" : "file", lane: x.denied ? "mark" : "file", shape: x.denied ? "diamond" : down ? "down" : up ? "up" : "dot",
      colour: x.denied ? "bad" : down ? "down" : up ? "up" : "other",
      label: `${x.denied ? "denied: " : ""}${visible(x.operation)} ${visible(x.path)}${x.bytes ? ", " + bytes(x.bytes) : ""}`,
      row: () => [h("span", { class: "verb" }, x.denied ? "denied" : down ? "from the host" : up ? "to the host" : visible(x.operation)), h("code", {}, said(x.path), x.to ? [" → ", said(x.to)] : null),
        x.bytes !== undefined ? h("span", { class: "dim" }, bytes(x.bytes)) : null],
    });
  }

  // A forward is told when it begins and when it is over.
  forward(x) {
    const before = this.forwards.findLast((o) => o.channel === x.channel && !o.ended);
    if (x.ended && before) {
      Object.assign(before, { ...x, at: before.at });
      return;
    }
    this.forwards.push(x);
    this.put(x.at, x.channel, {
      kind: x.denied ? "denied" : "forward", lane: x.denied ? "mark" : "file", shape: x.denied ? "diamond" : "dot", colour: x.denied ? "bad" : "forward",
      label: `${x.denied ? "denied: " : ""}forward to ${visible(x.to)}`,
      row: () => [h("span", { class: "verb" }, x.denied ? "denied" : "forward"), h("code", {}, said(x.to)), x.from ? h("span", { class: "dim" }, "from ", said(x.from)) : null],
    });
  }

  mark(x) {
    this.marks.push(x);
    // What was denied of a file, a forward or a command stands there already.
    if (x.kind === "denied" && this.things.slice(-64).some((o) => o.kind === "denied" && o.at === x.at && o.channel === x.channel)) return;
    const bad = x.kind === "denied", end = x.kind === "end", warn = x.kind === "note" || x.kind === "signal";
    this.put(x.at, x.channel, {
      kind: x.kind, lane: "mark", shape: end ? "end" : bad || warn ? "diamond" : "dot", colour: end ? (/^closed/.test(x.text) ? "muted" : "bad") : bad ? "bad" : warn ? "warn" : "other",
      label: `${x.kind === "note" ? "" : visible(x.kind) + ": "}${visible(x.text)}`, row: () => [h("span", { class: "verb" }, visible(x.kind)), said(x.text)],
    });
  }

  warnings() { return this.list.filter((x) => x.kind === "denied" || x.kind === "note" || x.kind === "signal"); }
}
