// The samples of a board, a page at a time; what is looked at is loaded. Texts become text nodes, never HTML.
const LABELS = ["hallucinated", "correct", "covered", "ignored", "claim"];
const PAGE = 20;
const evalkit = { chunks: new Map(), waiting: new Map(), at: 0, places: [] };

evalkit.index = (index) => {
  evalkit.about = index;
  const select = document.getElementById("show");
  const options = [["all samples", () => true]];
  index.labels.forEach((label, run) => {
    const kinds = index.kinds[run];
    options.push([`${label}: hallucinated`, (place) => kinds[place] === "h"]);
    if (kinds.includes("f")) options.push([`${label}: failed`, (place) => kinds[place] === "f"]);
  });
  if (index.labels.length > 1) {
    const some = (place, kind) => index.kinds.some((kinds) => kinds[place] === kind);
    options.push(["one hallucinates, another does not", (place) => some(place, "h") && some(place, "c")]);
  }
  select.replaceChildren(...options.map(([text], number) => element("option", { value: number }, text)));
  const choose = () => {
    const test = options[Number(select.value)][1];
    evalkit.places = Array.from({ length: index.items }, (_, place) => place).filter(test);
    turn(0);
  };
  select.onchange = choose;
  document.getElementById("back").onclick = () => turn(evalkit.at - PAGE);
  document.getElementById("forth").onclick = () => turn(evalkit.at + PAGE);
  document.getElementById("more").onclick = () => {
    turn(evalkit.at + PAGE);
    scrollTo(0, 0);
  };
  choose();
};

evalkit.chunk = ({ number, samples }) => {
  evalkit.chunks.set(number, samples);
  evalkit.waiting.get(number)?.();
};

function loaded(number) {
  if (evalkit.chunks.has(number)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    evalkit.waiting.set(number, resolve);
    const script = element("script", { src: `${document.getElementById("samples").dataset.folder}/${number}.js` });
    script.onerror = () => reject(new Error(`${number}.js is missing`));
    document.body.append(script);
  });
}

async function turn(to) {
  const { places, about } = evalkit;
  evalkit.at = Math.max(0, Math.min(to, Math.floor((places.length - 1) / PAGE) * PAGE));
  const shown = places.slice(evalkit.at, evalkit.at + PAGE);
  const where = document.getElementById("where");
  where.textContent = shown.length ? `${evalkit.at + 1}–${evalkit.at + shown.length} of ${places.length}` : "none";
  document.getElementById("back").disabled = evalkit.at === 0;
  for (const name of ["forth", "more"]) document.getElementById(name).disabled = evalkit.at + PAGE >= places.length;
  try {
    await Promise.all([...new Set(shown.map((place) => Math.floor(place / about.chunk)))].map(loaded));
  } catch (error) {
    where.textContent = `${error.message}: copy the whole folder`;
    return;
  }
  const rows = shown.map((place) => evalkit.chunks.get(Math.floor(place / about.chunk))[place % about.chunk]);
  document.getElementById("samples").replaceChildren(...rows.map(sample));
}

function sample([name, prompt, picture, responses]) {
  const left = element("div", {});
  if (picture) left.append(element("img", { src: `images/${picture}`, loading: "lazy", alt: "" }));
  left.append(element("div", { class: "small" }, name));
  const right = element("div", {}, element("div", { class: "hk-text small" }, prompt));
  responses.forEach((response, run) => {
    if (!response) return;
    const [text, spans] = response;
    const body = element("div", { class: spans ? "hk-text" : "hk-text failed" });
    body.append(...(spans ? marked([...text], spans) : [text]));
    right.append(element("div", { class: "response" }, element("b", {}, evalkit.about.labels[run]), body));
  });
  return element("div", { class: "sample" }, left, right);
}

// `characters` are code points, as the positions of spans are
function marked(characters, spans) {
  const parts = [];
  let place = 0;
  for (const [start, end, label, note] of spans) {
    parts.push(characters.slice(place, start).join(""));
    const kind = LABELS.includes(label) ? label : "other";
    const title = note ? `${label}: ${note}` : label;
    parts.push(element("mark", { class: `hk hk-${kind}`, title }, characters.slice(start, end).join("")));
    place = end;
  }
  return [...parts, characters.slice(place).join("")];
}

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
