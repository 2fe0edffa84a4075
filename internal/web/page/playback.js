// Time passes here. A tape is what one channel showed, fetched piece by piece; the playback runs it onto a screen.

import { get } from "./api.js";

export class Tape {
  constructor(session, channel) {
    this.path = `api/session/${encodeURIComponent(session)}/output?channel=${channel}`;
    this.events = [];
    this.base = null; // where events begin, and how the screen was before them
    this.next = 0; // segment
    this.end = 0; // events up to here are known
    this.whole = false;
    this.loading = null;
  }

  // at begins anew where the screen of that moment can be painted.
  async at(seconds, signal) {
    const piece = await get(`${this.path}&at=${seconds.toFixed(6)}`, signal);
    this.base = piece;
    this.events = piece.events;
    this.take(piece);
    this.loading = null;
  }

  take(piece) {
    this.next = piece.next;
    this.end = piece.end;
    this.whole = piece.whole;
  }

  // more fetches what follows, once at a time.
  more() {
    if (this.whole || this.loading) return this.loading;
    const base = this.base;
    this.loading = get(`${this.path}&segment=${this.next}`).then((piece) => {
      if (this.base !== base) return;
      this.events = this.events.concat(piece.events);
      this.take(piece);
      this.loading = null;
    });
    this.loading.catch(() => {});
    return this.loading;
  }

  // reaches says whether a moment can be shown from what is here.
  reaches(seconds) {
    return Boolean(this.base) && seconds <= this.end && seconds >= (this.base.events[0]?.[0] ?? 0) && this.events.length < 300000;
  }
}

// A tape of nothing but time, for what has no output.
export class Silence {
  constructor(length) {
    this.events = [];
    this.base = { columns: 80, rows: 24, events: [], exact: true };
    this.end = length;
    this.whole = true;
  }
  async at() {}
  more() { return null; }
  reaches() { return true; }
}

const tick = 1000 / 60;
export const pause = 2; // seconds that a pause is shortened to

export class Playback {
  constructor({ length, changed, failed }) {
    this.length = length;
    this.changed = changed; // something a person sees: the time, playing, waiting
    this.failed = failed;
    this.time = 0;
    this.speed = 1;
    this.skip = true;
    this.playing = false;
    this.waiting = false;
    this.done = 0; // events on the screen
    this.turn = 0; // every seek makes what the last one asked for worthless
  }

  async load(tape, screen, at) {
    this.tape = tape;
    this.screen = screen;
    screen.tape = tape;
    await this.seek(at);
  }

  toggle() { this.playing ? this.stop() : this.play(); }

  play() {
    if (this.time >= this.length - 0.05) {
      this.seek(0).then(() => this.run());
      return;
    }
    this.run();
  }

  run() {
    this.playing = true;
    this.last = performance.now();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.step(), tick);
    this.changed();
  }

  stop() {
    this.playing = false;
    clearInterval(this.timer);
    this.changed();
  }

  close() {
    this.stop();
    this.turn++;
    this.abort?.abort();
  }

  // seek shows a moment. What is shown is always what was printed up to then, never a mixture with what was there before.
  async seek(to) {
    const at = Math.min(Math.max(0, to), this.length);
    const turn = ++this.turn;
    this.abort?.abort();
    this.time = at;
    if (!this.tape.reaches(at)) {
      this.waiting = true;
      this.changed();
      this.abort = new AbortController();
      try {
        await this.tape.at(at, this.abort.signal);
      } catch (e) {
        if (turn === this.turn && e.name !== "AbortError") {
          this.waiting = false;
          this.tape.base = null;
          this.screen.reset({ columns: this.screen.columns ?? 80, rows: this.screen.rows ?? 24, exact: true, events: [] }); // not what was there before
          this.done = -1;
          this.stop();
          this.failed(e);
        }
        return;
      }
      if (turn !== this.turn) return;
      this.waiting = false;
      this.done = -1;
    }
    if (this.done < 0 || (this.done > 0 && this.tape.events[this.done - 1]?.[0] > at) || this.screen.fresh) {
      this.screen.reset(this.tape.base);
      this.done = 0;
    }
    this.show(at);
    this.last = performance.now();
    this.screen.settled?.(at);
    this.changed();
  }

  show(until, playing = false) {
    const events = this.tape.events;
    const from = this.done;
    while (this.done < events.length && events[this.done][0] <= until) this.done++;
    if (this.done > from) this.screen.write(events.slice(from, this.done), playing);
  }

  step() {
    const now = performance.now();
    if (this.waiting) {
      this.last = now;
      return;
    }
    let to = this.time + Math.min((now - this.last) / 1000, 1) * this.speed;
    this.last = now;
    const next = this.tape.events[this.done]?.[0];
    if (this.skip) to = this.skipped(to, next);
    if (to > this.tape.end - 5 * this.speed || this.done > this.tape.events.length - 50) this.tape.more()?.catch((e) => this.lost(e));
    if (!this.tape.whole && to > this.tape.end) { // nothing is known of what comes
      this.wait();
      to = this.tape.end;
    }
    this.time = Math.min(to, this.length);
    this.show(this.time, true);
    this.screen.settled?.(this.time);
    if (this.time >= this.length) this.stop();
    else this.changed();
  }

  // skipped leaves out what is longer than a pause.
  skipped(to, next) {
    if (next !== undefined) return Math.max(to, Math.min(next - pause, this.length));
    if (this.tape.whole) return Math.max(to, this.length - pause);
    return Math.max(to, this.tape.end);
  }

  async wait() {
    if (this.waiting) return;
    this.waiting = true;
    const turn = this.turn;
    try {
      await this.tape.more();
      if (turn === this.turn) this.waiting = false;
    } catch (e) {
      if (turn === this.turn) this.lost(e);
    }
  }

  lost(e) {
    this.waiting = false;
    this.stop();
    this.failed(e);
  }
}
