// How times, lengths and sizes are written.

const two = (n) => String(n).padStart(2, "0");

// position is a time in a session: 4:05, 1:04:05.
export function position(seconds, tenths = false) {
  const all = Math.max(0, tenths ? Math.floor(seconds * 10) / 10 : Math.floor(seconds));
  const whole = Math.floor(all);
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60, rest = whole % 60;
  const text = hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  return tenths ? `${text}.${Math.floor((all - whole) * 10 + 1e-6)}` : text;
}

// long is how long something took: 45 s, 12 min, 3 h 20 min.
export function long(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${two(Math.floor(seconds % 60))} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  return `${Math.round(minutes / 1440)} days`;
}

export function bytes(n) {
  if (n === undefined || n === null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
  return `${i && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
export const shortClock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
const date = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
export const day = (d) => date.format(d);
export const sameDay = (a, b) => a.toDateString() === b.toDateString();

// dayName is today, yesterday or the date.
export function dayName(d, now) {
  const before = new Date(now);
  before.setDate(before.getDate() - 1);
  if (sameDay(d, now)) return "Today";
  if (sameDay(d, before)) return "Yesterday";
  return day(d);
}

const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
export const stamp = (d) => `${day(d)}, ${clock(d)} (${zone()})`;

// hue of a name, so that the same person looks the same everywhere.
export function hue(name) {
  let n = 7;
  for (const c of name) n = (n * 31 + c.codePointAt(0)) % 360;
  return n;
}

// ended says how a session ended, and whether somebody should look: good, cut, bad or live.
export function ended(session, now) {
  const zero = !session.ended || session.ended.startsWith("0001");
  if (zero && new Date(session.deadline) > now) return { text: "live", kind: "live" };
  if (zero) return { text: "past its deadline, the bastion has not told yet", kind: "cut" };
  const text = session.end || "ended";
  if (/^closed/.test(text)) return { text, kind: "good" };
  if (/revoked|recorder|lost|limit|risk/.test(text)) return { text, kind: "bad" };
  return { text, kind: "cut" };
}

export function took(session, now) {
  const zero = !session.ended || session.ended.startsWith("0001");
  const end = zero ? Math.min(now, new Date(session.deadline)) : new Date(session.ended);
  return Math.max(0, (end - new Date(session.started)) / 1000);
}
