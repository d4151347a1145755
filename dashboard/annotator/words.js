// Words and marks: selecting by mouse and by keyboard, and marks as spans. Part of annotator.js, joined before it is sent.

function wordsOf(data, which) {
  return data.responses[which].filter((piece) => piece.length === 3);
}

function markSpan(data, draft, which, from, to, type) {
  const group = newGroup(draft.marks[which]);
  wordsOf(data, which).forEach(([, start, end], index) => {
    if (start < to && from < end) draft.marks[which][index] = { type, group };
  });
}

function newGroup(marks) {
  return 1 + Math.max(0, ...Object.values(marks).map((mark) => mark.group));
}

function spansOf(data, draft, which) {
  const found = [];
  const words = wordsOf(data, which);
  let last = null;
  words.forEach(([, start, end], index) => {
    const mark = draft.marks[which][index];
    if (mark && last && last.group === mark.group && last.index === index - 1) {
      found.at(-1)[1] = end;
    } else if (mark) {
      found.push([start, end, mark.type]);
    }
    last = mark ? { group: mark.group, index } : null;
  });
  return found;
}

// --- words ---------------------------------------------------------------------------------------------------------

function select(one, which, anchor, end) {
  one.selection = { which, anchor, end };
  refresh(one);
}

function press(one, which, event) {
  const index = one.words[which].indexOf(event.target.closest(".ea-word"));
  if (index < 0) return;
  event.preventDefault();
  const now = one.selection;
  const here = now && now.which === which;
  const [low, high] = here ? [Math.min(now.anchor, now.end), Math.max(now.anchor, now.end)] : [0, 0];
  if (here && event.shiftKey) select(one, which, now.anchor, index);
  else if (here && event.pointerType === "touch" && index === high + 1) select(one, which, low, index);
  else if (here && event.pointerType === "touch" && index === low - 1) select(one, which, high, index);
  else select(one, which, index, index);
  focusWord(one, which, index);
}

function drag(one, which, event) {
  if (!(event.buttons & 1) || !one.selection || one.selection.which !== which) return;
  const index = one.words[which].indexOf(event.target.closest(".ea-word"));
  if (index >= 0) select(one, which, one.selection.anchor, index);
}

function focusWord(one, which, index) {
  one.words[which].forEach((word, place) => word.setAttribute("tabindex", place === index ? "0" : "-1"));
  one.words[which][index].focus();
}

function wordKey(one, which, event) {
  const words = one.words[which];
  const index = words.indexOf(event.target);
  if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  const forth = getComputedStyle(event.currentTarget).direction === "rtl" ? -1 : 1;
  const steps = { ArrowLeft: index - forth, ArrowRight: index + forth, Home: 0, End: words.length - 1 };
  let to = steps[event.key];
  if (event.key === "ArrowUp" || event.key === "ArrowDown") to = lineAway(words, index, event.key === "ArrowDown" ? 1 : -1);
  if (to !== undefined) {
    const target = Math.min(words.length - 1, Math.max(0, to));
    const now = one.selection;
    select(one, which, event.shiftKey ? (now && now.which === which ? now.anchor : index) : target, target);
    focusWord(one, which, target);
  } else if (event.key === " " || event.key === "Enter") {
    select(one, which, index, index);
  } else if (event.key === "Escape") {
    one.selection = null;
    refresh(one);
  } else return;
  event.preventDefault();
}

function lineAway(words, index, direction) {
  const here = words[index].getBoundingClientRect();
  const lines = words
    .map((word, place) => ({ place, box: word.getBoundingClientRect() }))
    .filter(({ box }) => direction * (box.top - here.top) > here.height / 2);
  lines.sort((a, b) => direction * (a.box.top - b.box.top) || Math.abs(a.box.left - here.left) - Math.abs(b.box.left - here.left));
  return lines.length ? lines[0].place : index;
}

function assign(one, type) {
  const { data, draft, selection } = one;
  if (!selection) return message(one, { text: "Select words first.", kind: "error" });
  const marks = draft.marks[selection.which];
  const group = newGroup(marks);
  for (let at = Math.min(selection.anchor, selection.end); at <= Math.max(selection.anchor, selection.end); at += 1) {
    if (type === null) delete marks[at];
    else marks[at] = { type, group };
  }
  const focus = one.words[selection.which][selection.end];
  one.selection = null;
  message(one, null);
  keep(one);
  refresh(one);
  if (focus && data.task !== "correct") focus.focus();
}

function rootKey(one, event) {
  const writing = ["TEXTAREA", "INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "radio";
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (!one.submit.disabled) submit(one);
  } else if (!writing && /^[0-9]$/.test(event.key) && !event.ctrlKey && !event.altKey && one.data.task !== "correct") {
    const type = event.key === "0" ? null : one.data.types[Number(event.key) - 1];
    if (type !== undefined) assign(one, type);
  } else if (event.target === one.part("frame") && ["+", "=", "-", "_"].includes(event.key)) {
    zoom(one, "+=".includes(event.key) ? 1.4 : 1 / 1.4);
  }
  event.stopPropagation(); // the page has shortcuts of its own
}
