// Everything is asked of the server that this page came from; the browser is told to allow nothing else.

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Error("postern has ended on this machine; start postern replay --web again");
  }
  if (answer.ok) return answer;
  let text;
  try {
    text = (await answer.clone().json()).error;
  } catch {
    text = (await answer.text()).trim();
  }
  throw new Error(text || "the answer was " + answer.status);
}

const post = (question, signal) => ({
  method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(question),
});

export const get = async (path, signal) => (await asked(path, { signal })).json();
export const put = async (path, question, signal) => (await asked(path, post(question, signal))).json();
export const stream = async (path, each, signal) => lines(await asked(path, { signal }), each);
export const putStream = async (path, question, each, signal) => lines(await asked(path, post(question, signal)), each);

// lines gives each JSON object as it comes.
async function lines(answer, each) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) if (line) each(JSON.parse(line));
  }
  if (rest.trim()) each(JSON.parse(rest));
}
