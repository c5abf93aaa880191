/* The raters' page: one question at a time, by keyboard or touch. The secret behind the '#' of the link goes along in a header. An answer
 * counts as given once the server says that it is on its disk; until then it is sent again and again, and the server keeps it once. */
"use strict";

const VERSION = "raters-1";
const BREAK_TEXT = "You may stop here at any time. The same link goes on where you stopped.";
const main = document.getElementById("main"), foot = document.getElementById("foot"), send = document.getElementById("send");
const say = document.getElementById("say"), where = document.getElementById("where"), bar = document.getElementById("bar");
let state = null;      // what the server said last
let question = null;   // {first, read(): answer or null, key(event): was it one of its keys, missing}
let begun = false;     // the introduction, or a break, was left
let rested = 1;        // the session whose break was shown
let busy = false;
let shown = 0, hidden = 0, hiddenSince = 0; // ms, to know how long the question was looked at

/* ---- small parts ---- */

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

function kbd(text) { return el("kbd", {}, text); }

/* Line breaks and tabs are shown as signs. */
function visible(text, into) {
  const signs = { "\n": ["↵", "line break"], "\r": ["␍", "carriage return"], "\t": ["⇥", "tab"] };
  for (const part of text.split(/([\n\r\t])/)) {
    if (signs[part]) into.append(el("span", { class: "space", role: "img", "aria-label": signs[part][1] }, signs[part][0]));
    else if (part !== "") into.append(part);
  }
}

/* A context: marked tokens by their level (background and line below), the token in question in a box. */
function context(c, box) {
  const p = el("p", { class: "context" });
  c.t.forEach((text, i) => {
    const level = c.a ? c.a[i] : 0;
    let into = p;
    if (level > 0) {
      into = el("mark", { title: `strength ${level} of 10` });
      into.style.setProperty("--l", level);
      p.append(into);
    }
    if (box && i === c.f) {
      const b = el("span", { class: "box" });
      into.append(b);
      into = b;
    }
    visible(text, into);
  });
  return p;
}

function list(contexts, box) {
  return el("ul", {}, ...contexts.map(c => el("li", {}, context(c, box))));
}

function card(c) {
  return el("section", { class: "card", tabindex: "0", "aria-label": "examples" },
    el("h2", {}, "The rule marks these"), list(c.on, false),
    el("h2", {}, "It does not mark the boxed part of these"), list(c.off, true));
}

function heading(title, ...hint) {
  return [el("h1", {}, title), el("p", { class: "hint" }, ...hint)];
}

/* ---- questions ---- */

/* One of several contexts; `above` stands between heading and contexts. */
function choose(item, box, title, hint, above) {
  const inputs = [];
  const options = el("ol", { role: "radiogroup", "aria-label": title });
  item.contexts.forEach((c, i) => {
    const input = el("input", { type: "radio", name: "choice", value: i, "aria-label": `context ${i + 1}` });
    inputs.push(input);
    options.append(el("li", {}, el("label", { class: "choice" }, el("span", {}, input, el("span", { class: "number" }, ` ${i + 1}`)), context(c, box))));
  });
  main.append(...heading(title, ...hint), ...above, options);
  return {
    first: inputs[0],
    read: () => { const i = inputs.findIndex(x => x.checked); return i < 0 ? null : { choice: i }; },
    key: e => {
      const i = "123456789".indexOf(e.key);
      if (i < 0 || i >= inputs.length) return false;
      inputs[i].checked = true;
      inputs[i].focus();
      return true;
    },
    missing: `Choose one with 1 to ${item.contexts.length}.`,
  };
}

function intruder(item) {
  return choose(item, false, "Which one does not belong?",
    ["Four of these are marked by the same rule, one is marked at random. ", kbd("1"), " to ", kbd("5"), ", then ", kbd("Enter"), "."], []);
}

function composition(item) {
  const atoms = item.atoms.map((a, i) => el("section", { class: "card" }, el("h2", {}, `Pattern ${i ? "B" : "A"}`), list(a, false)));
  main.classList.add("wide");
  return choose(item, true, "Where do the two patterns work together?",
    ["In which context does the boxed part show A and B combined? ", kbd("1"), " to ", kbd("4"), ", then ", kbd("Enter"), "."],
    [el("div", { class: "split" }, ...atoms), el("h2", {}, "Contexts")]);
}

function detection(item) {
  const rows = item.contexts.map((c, i) => {
    const yes = el("input", { type: "radio", name: `d${i}`, value: "1" }), no = el("input", { type: "radio", name: `d${i}`, value: "0" });
    const set = el("fieldset", {}, el("legend", {}, `${i + 1} of ${item.contexts.length}`), context(c, true),
      el("div", { class: "pair" }, el("label", {}, yes, "marked"), el("label", {}, no, "not marked")));
    return { set, yes, no };
  });
  let up = 0;
  const raise = (i, focus) => {
    rows.forEach((r, k) => r.set.classList.toggle("up", k === i));
    up = i;
    if (focus) {
      (rows[i].no.checked ? rows[i].no : rows[i].yes).focus({ preventScroll: true });
      rows[i].set.scrollIntoView({ block: "nearest" });
    }
  };
  rows.forEach((r, i) => r.set.addEventListener("focusin", () => raise(i, false)));
  main.classList.add("wide");
  main.append(...heading("Would the rule mark the boxed part?",
    "Find the rule in the examples, then judge each context. ", kbd("Y"), " marked, ", kbd("N"), " not, ", kbd("J"), " ", kbd("K"), " move, ", kbd("Enter"), " submits."),
  el("div", { class: "split" }, card(item.card), el("section", {}, el("h2", {}, "Marked or not?"), el("ol", {}, ...rows.map(r => el("li", {}, r.set))))));
  raise(0, false);
  return {
    first: rows[0].yes,
    read: () => rows.every(r => r.yes.checked || r.no.checked) ? { active: rows.map(r => r.yes.checked ? 1 : 0) } : null,
    key: e => {
      const key = e.key.toLowerCase(), last = rows.length - 1;
      if (key === "y" || key === "n") {
        rows[up][key === "y" ? "yes" : "no"].checked = true;
        raise(Math.min(up + 1, last), true);
      } else if (key === "j" || key === "k") raise(Math.max(0, Math.min(up + (key === "j" ? 1 : -1), last)), true);
      else return false;
      return true;
    },
    missing: "Judge all ten contexts.",
  };
}

const SCALE = ["no pattern", "a faint pattern", "a pattern with many exceptions", "a clear pattern with few exceptions", "one clear pattern, in the weak examples too"];

function rating(item) {
  const inputs = SCALE.map((text, i) => el("input", { type: "radio", name: "score", value: i + 1 }));
  const label = el("input", { class: "text", type: "text", maxlength: "100", autocomplete: "off", id: "label" });
  main.classList.add("wide");
  main.append(...heading("How clear is the pattern?", kbd("1"), " to ", kbd("5"), ", ", kbd("Tab"), " to the text, ", kbd("Enter"), " submits."),
    el("div", { class: "split" }, card(item.card), el("section", {},
      el("h2", {}, "Your rating"),
      el("div", { class: "scale", role: "radiogroup", "aria-label": "rating" },
        ...inputs.map((x, i) => el("label", {}, x, el("span", {}, el("span", { class: "number" }, `${i + 1}`), SCALE[i])))),
      el("h2", {}, el("label", { for: "label" }, "The rule in a few words (may stay empty)")), label)));
  return {
    first: inputs[0],
    read: () => { const i = inputs.findIndex(x => x.checked); return i < 0 ? null : { score: i + 1, label: label.value.trim() }; },
    key: e => {
      const i = "12345".indexOf(e.key);
      if (i < 0 || document.activeElement === label) return false;
      inputs[i].checked = true;
      inputs[i].focus();
      return true;
    },
    missing: "Choose a rating with 1 to 5.",
  };
}

const KINDS = { intruder, detection, rating, composition };

/* ---- pages ---- */

function clear(title) {
  main.replaceChildren();
  main.classList.remove("wide");
  delete main.dataset.item;
  question = null;
  say.textContent = "";
  say.classList.remove("warn");
  where.textContent = title;
  window.scrollTo({ top: 0, behavior: "instant" });
}

function notice(title, ...text) {
  clear("Reading patterns");
  main.append(el("h1", {}, title), ...text.map(t => el("p", {}, t)));
  bar.hidden = true;
  foot.hidden = true;
  main.focus();
}

/* A page with one button: the introduction, or a break. */
function pause(title, ...text) {
  notice(title, ...text);
  foot.hidden = false;
  send.textContent = "Begin";
  send.setAttribute("aria-disabled", "false");
  send.focus();
}

function introduction() {
  pause("What do these marks have in common?",
    "A program has marked parts of texts, by rules that nobody has told us. Some rules are clear (numbers, names), some are no rules at all. You are asked to find out which is which.",
    "The stronger the mark, the surer the program was: both the colour and the line below grow. Signs such as ↵ stand for line breaks.",
    `There are ${state.total} questions in ${state.sessions} session${state.sessions > 1 ? "s" : ""} of about twenty minutes. ${BREAK_TEXT}`,
    "Some questions have an obvious answer: they are there to see that all is well. You cannot go back to a question. Your answers and the time they take are kept, and nothing else about you.");
}

function ask() {
  const item = state.item;
  clear(`Session ${state.session} of ${state.sessions}: question ${state.session_done + 1} of ${state.session_total}`);
  bar.hidden = false;
  bar.max = state.session_total;
  bar.value = state.session_done;
  foot.hidden = false;
  send.textContent = "Submit";
  question = KINDS[item.task](item);
  main.dataset.item = item.id;
  main.dataset.task = item.task;
  shown = performance.now();
  hidden = 0;
  ready();
  question.first.focus({ preventScroll: true });
}

function show() {
  document.getElementById("simulated").hidden = !state.simulated;
  if (state.done >= state.total) notice("That was the last question", "Thank you. All your answers are saved; you can close this page.");
  else if (state.frozen) notice("The study is closed", "Thank you. No more answers are taken.");
  else if (!begun && state.done === 0) introduction();
  else if (!begun) pause("Welcome back", `${state.done} of ${state.total} questions are answered and saved.`, "Begin goes on with the next one.");
  else if (state.session > rested && state.session_done === 0) {
    pause(`Session ${state.session - 1} of ${state.sessions} is done`, BREAK_TEXT, "Begin starts the next one.");
  } else ask();
}

/* ---- talking to the server ---- */

async function call(path, body) {
  const headers = { "X-Rater": location.hash.slice(1) };
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, { method: body ? "POST" : "GET", cache: "no-store", body: body && JSON.stringify(body), headers });
  return { status: reply.status, json: await reply.json() };
}

/* Until there is an answer: a server that is away, or too busy, comes back. */
async function insist(path, body) {
  for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
    try {
      const reply = await call(path, body);
      if (reply.status < 500) return reply;
    } catch { /* no connection */ }
    foot.hidden = false;
    say.textContent = body ? "Not saved yet: the server does not answer. Trying again." : "The server does not answer. Trying again.";
    say.classList.add("warn");
    await new Promise(done => setTimeout(done, wait));
  }
}

function refused(reply) {
  if (reply.status === 403) notice("This link does not open the study", "Please use the whole link that you were given; it ends in 32 letters and digits.");
  else if (reply.status === 410) notice("The study is closed", "Thank you. No more answers are taken.");
  else notice("Something went wrong", reply.json.error ? reply.json.error.what : "", "Reload the page to go on; answers given so far are saved.");
}

async function load() {
  const reply = await insist("api/rater/next");
  if (reply.status !== 200) return refused(reply);
  state = reply.json;
  show();
}

async function submit() {
  if (busy) return;
  if (!question) {
    begun = true;
    rested = state.session;
    return show();
  }
  const answer = question.read();
  if (!answer) {
    say.textContent = question.missing;
    say.classList.add("warn");
    return;
  }
  const ms = Math.round(performance.now() - shown - hidden);
  busy = true;
  ready();
  const reply = await insist("api/rater/answer", { item: state.item.id, answer, ms: Math.max(0, Math.min(ms, 604800000)), version: VERSION });
  busy = false;
  if (reply.status === 200) {
    state = reply.json;
    show();
  } else if (reply.status === 409 || reply.status === 400) await load(); // answered in another window: on with what is up
  else refused(reply);
}

/* ---- events ---- */

function ready() {
  const complete = !question || question.read() !== null;
  send.setAttribute("aria-disabled", String(busy || !complete));
  if (complete && !busy) say.textContent = "";
}

send.addEventListener("click", submit);
main.addEventListener("input", ready);
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || !question) return;
  if (e.key === "Enter" && document.activeElement !== send) {
    e.preventDefault();
    if (!e.repeat) submit();
  } else if (question.key(e)) {
    e.preventDefault();
    ready();
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenSince = performance.now();
  else if (hiddenSince) {
    hidden += performance.now() - hiddenSince;
    hiddenSince = 0;
  }
});
window.addEventListener("hashchange", () => location.reload());
load();
