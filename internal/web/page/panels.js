// The panels beside the player.

import { h, icon, replace, said, visible } from "./dom.js";
import { bytes, clock, count, dayName, long, position, stamp } from "./format.js";

// list paints rows that lead to a moment, a few hundred at a time.
function list(session, panel, things, empty, row, chosen) {
  session.more = undefined;
  if (!things.length) return replace(panel, h("p", { class: "empty" }, empty));
  const ol = h("ol", { class: "things" });
  let shown = 0;
  const more = () => {
    for (const x of things.slice(shown, shown + 400)) {
      const el = h("button", { type: "button", class: "thing", onclick: () => (chosen ? chosen(x) : session.jump({ at: x.at, channel: session.happened.seen.has(x.channel) ? x.channel : undefined })) },
        h("span", { class: "when" }, position(x.at)), row(x));
      session.rows.push({ at: x.at, el });
      ol.append(h("li", {}, el));
    }
    shown += 400;
    rest.hidden = shown >= things.length;
  };
  const rest = h("button", { class: "button more", type: "button", onclick: () => more() }, "More");
  more();
  session.more = () => shown < things.length && (more(), true);
  replace(panel, ol, rest);
}

// What was read off a terminal is what the host showed; what was asked for by name is certain.
const command = (x) => [h("code", { class: "what" }, said(x.text)),
  (x.seen || x.text.startsWith("subsystem ")) && !x.refused ? null : h("span", { class: "dim" }, x.refused ? h("span", { class: "tag bad" }, "refused") : null, x.seen || x.text.startsWith("subsystem ") ? null : h("span", { class: "tag", title: "asked for by the client, not typed at a prompt" }, "exec"),
    x.exit !== undefined ? h("span", { class: "tag " + (x.exit ? "warn" : "good") }, "exit " + x.exit) : null)];

const file = (x) => {
  const way = x.operation === "read" ? ["down", "from the host"] : x.operation === "write" ? ["up", "to the host"] : ["file", visible(x.operation)];
  return [h("span", { class: "way way-" + way[0] }, icon(way[0])), h("code", { class: "what" }, said(x.path), x.to ? [" → ", said(x.to)] : null),
    h("span", { class: "dim" }, x.denied ? h("span", { class: "tag bad" }, "denied") : null, [way[1], x.bytes !== undefined ? bytes(x.bytes) : "", visible(x.protocol)].filter(Boolean).join(" · "),
      x.status && x.status !== "ok" ? h("span", { class: "tag warn" }, said(x.status)) : null),
    x.sha256 ? h("span", { class: "dim hash", title: "SHA-256" }, visible(x.sha256)) : null];
};

const forward = (x) => [h("code", { class: "what" }, said(x.to)),
  h("span", { class: "dim" }, x.denied ? h("span", { class: "tag bad" }, "denied") : null,
    [visible(x.kind), x.from ? "from " + visible(x.from) : "", x.ended ? `${bytes(x.sent ?? 0)} to it, ${bytes(x.received ?? 0)} back, ${long(x.seconds ?? 0)}` : "", visible(x.why ?? "")].filter(Boolean).join(" · "))];

const hit = (x) => [h("span", { class: "what" }, said(x.before), h("mark", {}, visible(x.text)), said(x.after)), h("span", { class: "dim" }, visible(x.kind))];

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, v]) => v !== undefined && v !== null && v !== "").map(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));
}

function request(session, panel) {
  const { request: r, votes, unknown } = session.detail;
  if (!r) return replace(panel, h("p", { class: "empty" }, "The CA did not tell the request: " + visible(unknown)));
  const now = session.now, when = (t) => (t && !t.startsWith("0001") ? h("span", { title: stamp(new Date(t)) }, dayName(new Date(t), now) + ", " + clock(new Date(t))) : undefined);
  const words = (l) => (l?.length ? l.map((w) => [h("code", { class: "word" }, said(w)), " "]) : undefined);
  replace(panel, h("blockquote", {}, said(r.reason)),
    facts([["Request", [h("code", {}, said(r.id)), " ", h("span", { class: "tag" }, said(r.state))]], ["By", said(r.person)], ["For", words(r.targets)], ["May", words(r.capabilities)],
      ["Leads to", words(r.destinations)], ["How long", long(r.for_seconds)], ["Asked", when(r.created)], ["Began", when(r.began)], ["Ends", when(r.ends)],
      ["Needed", r.needs?.length ? r.needs.map((n) => `${n.count} of ${visible(n.group)}`).join(", ") : "no approval"], ["Rules", words(r.rules)],
      ["Policy", h("code", { class: "hash" }, said(r.policy))], ["Digest", h("code", { class: "hash" }, said(r.digest))], ["Notes", r.notes?.length ? said(r.notes.join("; ")) : undefined]]),
    h("h3", {}, votes.length ? "Decisions" : "No decisions"),
    votes.map((v) => h("details", { class: "decision " + (v.good ? "good" : "bad") },
      h("summary", {}, icon(v.good ? (v.decision === "approve" ? "check" : "cross") : "warn"),
        h("span", {}, h("b", {}, said(v.person)), " ", { approve: "approved", deny: "denied", withdraw: "withdrew", revoke: "revoked" }[v.decision] ?? visible(v.decision), " ", when(v.at)),
        h("span", { class: "dim" }, v.good ? "signature verified here" + (v.token ? ", with " + v.token : "") : visible(v.why))),
      facts([["Key", h("code", { class: "hash" }, said(v.key))]]),
      h("pre", {}, v.statement.split("\n").map((l) => visible(l) + "\n")), h("pre", { class: "signature" }, v.signature.split("\n").map((l) => visible(l) + "\n")))));
}

function verification(session, panel) {
  const { outline: o, session: s } = session.detail, p = session.proof;
  const step = (state, title, text) => h("li", { class: "step step-" + state }, icon({ good: "check", bad: "warn", going: "shield", cut: "warn", live: "live" }[state]),
    h("div", {}, h("b", {}, title), h("p", {}, text)));
  const read = p.segments ? Math.floor(p.read / p.segments * 100) : 100;
  const bar = h("progress", { max: p.segments || 1, value: p.read, "aria-label": "segments verified" });
  bar.value = p.read;
  replace(panel, h("ol", { class: "steps" },
    o.damage && !o.logged ? step("bad", "Only a part of it is here", visible(o.damage)) : null,
    step(o.signed ? "good" : "bad", o.signed ? "Signed by the bastion" : "Signatures were not checked",
      `${count(o.segments, "segment")} and the end of the recording, by the key of ${visible(o.bastion)}. Their order and number cannot be changed.`),
    step(o.logged ? "bad" : "good", o.logged ? "Not what was logged" : "As the CA logged it", o.logged ? visible(o.logged) : s.sealed_head ? "The recording has the heads that the bastion told the CA while it ran, as the CA tells them." : "Nothing of it was logged yet."),
    step(o.live ? "live" : o.interrupted ? "cut" : "good", o.live ? "The session goes on" : o.interrupted ? "Interrupted" : "Whole to its end",
      o.live ? "What is here is what was sealed when this was opened." : o.interrupted ? "The bastion or its disk died before the session ended. All it had acknowledged is here." : "It ends where the bastion ended it; nothing is missing at the end."),
    p.fault ? step("bad", "Altered", visible(p.fault))
      : step(p.checked ? "good" : "going", p.checked ? "Read to the last frame" : `Reading: ${read} %`, [p.checked ? `All ${count(o.frames, "frame")} were decrypted here and are the ones that were signed.` : "Every segment is fetched, decrypted here and held against its signature.", p.checked ? null : bar])),
    p.differ ? h("p", { class: "bad differ" }, icon("warn"), ` The bastion’s index said something else of ${count(p.differ, "segment")}. What stands here is what this machine reads in their frames.`) : null,
    facts([["Size", `${bytes(o.bytes)} sealed, ${count(o.frames, "frame")}`], ["Sealed to", h("code", { class: "hash" }, said(o.recording_key))], ["Chain", h("code", { class: "hash" }, said(o.sealed_head))],
      ["Logged", s.sealed_head ? h("code", { class: "hash" }, said(s.sealed_head)) : "nothing"]]),
    h("p", { class: "dim" }, "Whether the log itself is whole and who was allowed to approve, postern verify proves. ", p.checked ? "What stands under Commands, Files and Forwards was read out of the verified frames on this machine." : "What stands under Commands, Files and Forwards is the bastion’s reading, until the frames were read here."));
}

const things = (name, title, empty, row) => ({ name, title, count: (s) => s.happened[name].length, paint: (s, panel) => list(s, panel, s.happened[name], empty, row) });

export const panels = [
  things("commands", "Commands", "No command is on record.", command),
  things("files", "Files", "No file was transferred or changed over sftp or scp.", file),
  things("forwards", "Forwards", "Nothing was forwarded.", forward),
  { name: "request", title: "Request", paint: request, alarm: (s) => s.detail.votes.some((v) => !v.good) },
  { name: "verification", title: "Proof", paint: verification, alarm: (s) => s.proof.fault || s.detail.outline.logged || s.detail.outline.damage },
  { name: "hits", title: "Hits", optional: true, count: (s) => s.hits.length, paint: (s, panel) => list(s, panel, s.hits, "Nothing found.", hit, (x) => s.hit(s.hits.indexOf(x))) },
];
