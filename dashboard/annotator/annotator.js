// Shows one item and takes an answer. Texts of a run are data: they become text nodes, never HTML.

const instances = new WeakMap();
const QUESTIONS = [["less_hallucinated", "Which response hallucinates less?"], ["better", "Which is better overall?"]];
const CHOICES = [["first", "first"], ["second", "second"], ["tie", "tie"]];
const DRAFT_MS = 200;
const SILENT_MS = 15000;

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node[name] = value;
    else if (name === "class") node.className = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export default function (component) {
  const root = component.parentElement.querySelector(".ea");
  const one = instances.get(root) ?? start(root);
  one.send = (value) => component.setTriggerValue("said", value);
  one.report = (value) => component.setStateValue("draft", value);
  take(one, component.data);
  return () => {
    clearTimeout(one.timer);
    clearTimeout(one.patience);
  };
}

function start(root) {
  const one = { root, data: null, draft: null, sending: false, zoom: 1 };
  instances.set(root, one);
  one.part = (name) => root.querySelector(`.ea-${name}`);
  root.addEventListener("keydown", (event) => rootKey(one, event));
  one.part("in").onclick = () => zoom(one, 1.4);
  one.part("out").onclick = () => zoom(one, 1 / 1.4);
  one.part("fit").onclick = () => zoom(one, 0);
  return one;
}

// --- an item and its draft -----------------------------------------------------------------------------------------

function take(one, data) {
  const before = one.data;
  const same = before && before.drafts === data.drafts;
  const stale = before && before.item === data.item && data.message && data.message.kind === "stale";
  if (one.sending && before && !same && !stale) forget(before.drafts);
  one.data = data;
  one.sending = false;
  clearTimeout(one.patience);
  if (stale) keep(one);
  else if (!same) {
    one.draft = remembered(data.drafts) ?? answered(data);
    one.started = performance.now();
    one.selection = null;
    build(one);
  }
  message(one, data.message);
  segments(one);
  refresh(one);
}

function answered(data) {
  const draft = { marks: data.responses.map(() => ({})), text: data.text, types: {}, choices: {} };
  const answer = data.answer;
  if (!answer) return draft;
  if (data.task === "mark") answer.spans.forEach(([from, to, type]) => markSpan(data, draft, 0, from, to, type));
  if (data.task === "compare") {
    for (const [name] of QUESTIONS) draft.choices[name] = answer[name];
    answer.wrong.forEach(([which, from, to, type]) => markSpan(data, draft, which, from, to, type));
  }
  if (data.task === "correct") {
    draft.text = answer.text;
    for (const [from, , , , type] of answer.segments) draft.types[from] = type;
  }
  return draft;
}

function keep(one) {
  try {
    localStorage.setItem(one.data.drafts, JSON.stringify(one.draft));
  } catch {
    // private windows may have no storage: the draft then lives as long as the page
  }
}

function remembered(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function forget(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // as above
  }
}

// --- building ------------------------------------------------------------------------------------------------------

function build(one) {
  const { data } = one;
  picture(one);
  one.part("prompt").textContent = data.prompt;
  one.part("objects").replaceChildren(...data.objects.map((name) => element("span", { class: "ea-chip" }, name)));
  one.words = data.responses.map(() => []);
  const shown = data.task === "correct" ? [] : data.responses;
  one.part("responses").replaceChildren(...shown.map((pieces, which) => response(one, pieces, which)));
  one.part("types").replaceChildren(
    ...(data.task === "correct" ? [] : [...data.types.map((type, index) => typeButton(one, type, index)), clearButton(one)]),
  );
  edit(one);
  questions(one);
  actions(one);
  one.part("help").replaceChildren(...help(data.task));
}

function picture(one) {
  const { data } = one;
  const image = one.root.querySelector(".ea-canvas img");
  one.part("picture").hidden = !data.image && !data.name;
  image.hidden = !data.image;
  image.src = data.image && data.image.startsWith("data:image/jpeg;base64,") ? data.image : "";
  image.alt = data.name;
  one.part("name").textContent = data.image ? data.name : `${data.name}: the image cannot be shown`;
  one.root.querySelectorAll(".ea-box").forEach((box) => box.remove());
  for (const { object, at } of data.boxes) {
    const [x, y, width, height] = at;
    const box = element("div", { class: "ea-box", title: object }, element("span", {}, object));
    Object.assign(box.style, { left: `${x}%`, top: `${y}%`, width: `${width}%`, height: `${height}%` });
    one.part("canvas").append(box);
  }
  zoom(one, 0);
}

function zoom(one, factor) {
  one.zoom = factor === 0 ? 1 : Math.min(8, Math.max(1, one.zoom * factor));
  one.part("canvas").style.width = `${100 * one.zoom}%`;
}

function response(one, pieces, which) {
  const { data } = one;
  const many = data.responses.length > 1;
  const name = many ? `Response ${which + 1}` : "Response";
  const list = element("div", {
    role: "listbox",
    dir: "auto",
    "aria-multiselectable": "true",
    "aria-label": `${name}: select words`,
    onkeydown: (event) => wordKey(one, which, event),
    onpointerdown: (event) => press(one, which, event),
    onpointerover: (event) => drag(one, which, event),
  });
  const found = which === 0 ? data.found : [];
  for (const [text, start, end] of pieces) {
    if (start === undefined) {
      list.append(text);
      continue;
    }
    const word = element(
      "span",
      { class: "ea-word", role: "option", "aria-selected": "false", tabindex: one.words[which].length ? -1 : 0 },
      text,
    );
    word.classList.toggle("found", found.some(([from, to]) => start < to && from < end));
    one.words[which].push(word);
    list.append(word);
  }
  return element("div", { class: "ea-response" }, element("div", { class: "ea-label" }, name.toLowerCase()), list);
}

function typeButton(one, type, index) {
  return element("button", { type: "button", onclick: () => assign(one, type) }, element("b", {}, String(index + 1)), type);
}

function clearButton(one) {
  return element("button", { type: "button", onclick: () => assign(one, null) }, element("b", {}, "0"), "not wrong");
}

function edit(one) {
  const { data, draft } = one;
  if (data.task !== "correct") return one.part("edit").replaceChildren();
  const area = element("textarea", {
    "aria-label": "Response; change what is wrong",
    dir: "auto",
    spellcheck: "false",
    oninput: () => {
      draft.text = area.value;
      keep(one);
      clearTimeout(one.timer);
      one.timer = setTimeout(() => one.report({ item: data.item, text: area.value }), DRAFT_MS);
      refresh(one);
    },
  });
  area.value = draft.text;
  one.area = area;
  one.part("edit").replaceChildren(element("div", { class: "ea-label" }, "response"), area, element("div", { class: "ea-segments" }));
  if (draft.text !== data.text) one.report({ item: data.item, text: draft.text });
}

function segments(one) {
  const { data, draft } = one;
  if (data.task !== "correct" || !data.draft || data.draft.of !== draft.text) return;
  const rows = data.draft.segments.map(([start, old, fresh]) => {
    const select = element(
      "select",
      {
        "aria-label": `Type of the change from ${old || "nothing"} to ${fresh || "nothing"}`,
        onchange: () => {
          draft.types[start] = select.value;
          keep(one);
          refresh(one);
        },
      },
      element("option", { value: "" }, "type …"),
      ...data.types.map((type) => element("option", { value: type }, type)),
    );
    select.value = draft.types[start] ?? "";
    return element("div", { class: "ea-segment" }, old ? element("del", {}, old) : null, "→", element("ins", {}, fresh || "∅"), select);
  });
  const focused = [...one.part("segments").querySelectorAll("select")].indexOf(one.root.getRootNode().activeElement);
  one.part("segments").replaceChildren(...rows);
  if (focused >= 0) rows[focused]?.querySelector("select").focus();
}

function questions(one) {
  const { data, draft } = one;
  if (data.task !== "compare") return one.part("questions").replaceChildren();
  one.part("questions").replaceChildren(
    ...QUESTIONS.map(([name, text]) =>
      element(
        "fieldset",
        {},
        element("legend", {}, text),
        ...CHOICES.map(([value, label]) => {
          const radio = element("input", {
            type: "radio",
            name,
            value,
            onchange: () => {
              draft.choices[name] = value;
              keep(one);
              refresh(one);
            },
          });
          radio.checked = draft.choices[name] === value;
          return element("label", {}, radio, ` ${label}`);
        }),
      ),
    ),
  );
}

function actions(one) {
  const button = (text, onclick, extra = "") => element("button", { type: "button", class: extra, onclick }, text);
  one.submit = button("Submit", () => submit(one), "main");
  one.skip = button("Skip …", () => skipForm(one));
  one.undo = button("Undo", () => say(one, { action: "undo", ...one.data.last }));
  one.back = button("Previous", () => say(one, { action: "go", by: -1 }));
  one.forth = button("Next", () => say(one, { action: "go", by: 1 }));
  one.part("actions").replaceChildren(one.submit, one.skip, one.undo, one.back, one.forth);
  one.part("skip").hidden = true;
}

function skipForm(one) {
  const reason = element("input", { type: "text", "aria-label": "Why is it skipped?", placeholder: "why?", maxlength: 500 });
  const send = element("button", { type: "button" }, "Skip this item");
  send.onclick = () => (reason.value.trim() ? say(one, { action: "skip", reason: reason.value }) : reason.focus());
  reason.onkeydown = (event) => {
    if (event.key === "Enter" && !event.ctrlKey) send.click();
  };
  one.part("skip").replaceChildren(element("div", { class: "ea-row" }, reason, send));
  one.part("skip").hidden = false;
  reason.focus();
}

function help(task) {
  const key = (name) => element("kbd", {}, name);
  const submitting = [key("Ctrl"), " ", key("Enter"), " submits."];
  if (task === "correct") return ["Change the text, give each change a type. ", ...submitting];
  return [
    "Click or drag over words, then choose a type. By keyboard: ", key("←"), " ", key("→"), " move, ", key("Shift"),
    " extends, ", key("1"), "–", key("9"), " give the type, ", key("0"), " takes it away, ", ...submitting,
  ];
}

// --- saying --------------------------------------------------------------------------------------------------------

function problem(one) {
  const { data, draft } = one;
  if (data.task === "compare" && QUESTIONS.some(([name]) => !draft.choices[name])) return "Answer both questions.";
  if (data.task !== "correct" || draft.text === data.text) return "";
  if (!data.draft || data.draft.of !== draft.text) return "Reading the change …";
  return data.draft.segments.every(([start]) => draft.types[start]) ? "" : "Give each change a type.";
}

function submit(one) {
  const { data, draft } = one;
  if (problem(one)) return message(one, { text: problem(one), kind: "error" });
  let answer = null;
  if (data.task === "mark") answer = { spans: spansOf(data, draft, 0) };
  else if (data.task === "compare") {
    const wrong = [0, 1].flatMap((which) => spansOf(data, draft, which).map((span) => [which, ...span]));
    answer = { ...draft.choices, wrong };
  } else if (draft.text === data.text) answer = { text: draft.text, types: [] };
  else answer = { text: draft.text, types: data.draft.segments.map(([start]) => draft.types[start]) };
  say(one, { action: "answer", answer });
}

function say(one, what) {
  if (one.sending) return;
  one.sending = true;
  refresh(one);
  const seconds = (performance.now() - one.started) / 1000;
  one.send({ item: one.data.item, ...what, follows: one.data.line, seconds, at: performance.timeOrigin + performance.now() });
  one.patience = setTimeout(() => {
    one.sending = false;
    refresh(one);
    message(one, { text: "No answer from the server: nothing was saved. What you did is kept here; try again.", kind: "error" });
  }, SILENT_MS);
}

function message(one, said) {
  const place = one.part("message");
  place.textContent = said ? said.text : "";
  place.className = `ea-message ${said ? said.kind : ""}`;
}

function refresh(one) {
  const { data, draft, selection } = one;
  one.part("count").textContent = `${data.number} of ${data.total} · ${data.done} done${data.left ? ` · about ${data.left} left` : ""}`;
  one.part("bar").style.width = `${(100 * data.done) / Math.max(1, data.total)}%`;
  one.words.forEach((words, which) => {
    const now = selection && selection.which === which ? selection : null;
    words.forEach((word, index) => {
      const mark = draft.marks[which][index];
      const next = draft.marks[which][index + 1];
      const chosen = now && index >= Math.min(now.anchor, now.end) && index <= Math.max(now.anchor, now.end);
      word.setAttribute("aria-selected", String(Boolean(chosen)));
      word.classList.toggle("marked", Boolean(mark));
      if (mark && !(next && next.group === mark.group)) word.setAttribute("data-type", mark.type);
      else word.removeAttribute("data-type");
    });
  });
  const marks = data.responses.reduce((sum, _, which) => sum + spansOf(data, draft, which).length, 0);
  const again = data.line ? " again" : "";
  if (data.task === "mark") one.submit.textContent = marks ? `Submit ${marks} mark${marks > 1 ? "s" : ""}${again}` : `Clean: submit${again}`;
  else if (data.task === "correct") one.submit.textContent = draft.text === data.text ? `Accept as it is${again}` : `Submit the correction${again}`;
  else one.submit.textContent = `Submit${again}`;
  for (const button of [one.submit, one.skip]) button.disabled = one.sending;
  one.undo.disabled = one.sending || !data.last;
  one.back.disabled = one.sending || data.number <= 1;
  one.forth.disabled = one.sending || data.number >= data.total;
}
