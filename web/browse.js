// The page's frame: state in the address, search, histogram, table, keys. What is shown on the right is in views.js.
import { views } from "./views.js";

const $ = (id) => document.getElementById(id);
const ROW = 32, PAGE = 100;
export const app = { sets: [], set: null, total: 0 };

// ---- small tools ----

/** An element: el("a", {href: "x", class: "y", onclick: f}, "text", child, ...). No markup is ever parsed. */
export function el(name, attributes, ...children) {
  const e = name === "svg" || el.svg.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "style") Object.assign(e.style, v);
    else if (k === "value") e.value = v;
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}
el.svg = new Set(["rect", "line", "text", "g", "path", "title", "desc"]);

export async function ask(path, body, signal) {
  const how = body === undefined ? { signal } : { signal, method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let reply;
  try {
    reply = await fetch("api/" + path, how);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Error("The server does not answer. Is it still running?");
  }
  const json = await reply.json();
  if (!reply.ok) {
    const e = json.error || {};
    throw new Error([e.where, e.what].filter(Boolean).join(" ") + (e.expected ? ` (expected ${e.expected})` : ""));
  }
  return json;
}

export function num(v) {
  if (v === null || v === undefined) return "–";
  if (v === 0) return "0";
  const a = Math.abs(v);
  if (Number.isInteger(v) && a < 1e7) return v.toLocaleString("en");
  if (a < 1e-3 || a >= 1e6) return v.toExponential(1).replace("e+", "e");
  return v.toPrecision(3);
}

// ---- state: all of it in the address ----

export function state() {
  const p = new URLSearchParams(location.search);
  return { set: p.get("set"), view: p.get("view") || "feature", id: p.get("id"), q: p.get("q") || "", sort: p.get("sort") || "density",
    down: p.get("down") !== "0", columns: p.get("columns"), other: p.get("other"), text: p.get("text") || "", clamps: p.get("clamps") || "", c: p.get("c") };
}
const DEFAULTS = { view: "feature", q: "", sort: "density", down: true, text: "", clamps: "" };

export function address(change) {
  const s = { ...state(), ...change }, p = new URLSearchParams();
  for (const [k, v] of Object.entries(s))
    if (v !== null && v !== undefined && v !== DEFAULTS[k]) p.set(k, v === false ? "0" : v === true ? "1" : v);
  return "?" + p;
}

export function go(change, replace) {
  history[replace ? "replaceState" : "pushState"](null, "", address(change));
  show();
}
window.addEventListener("popstate", () => show());
document.addEventListener("click", (e) => {
  const a = e.target.closest("a[href^='?']");
  if (!a || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
  e.preventDefault();
  history.pushState(null, "", a.getAttribute("href"));
  show();
});

// ---- the list ----

const list = { key: "", pages: new Map(), columns: [], total: 0, abort: null };

function columnNames(s) {
  const known = app.set.columns.map((c) => c.name);
  const asked = s.columns === null ? ["top_token", "density", "max", "reproducibility"] : s.columns.split(",");
  return asked.filter((c) => known.includes(c));
}

const rowsPath = (s, more) => `set/${encodeURIComponent(s.set)}/rows?` + new URLSearchParams({ q: s.q, sort: s.sort, down: s.down ? 1 : 0, columns: list.columns.join(","), ...more });

async function showList(s) {
  const key = JSON.stringify([s.set, s.q, s.sort, s.down, s.columns]);
  if (key === list.key) return markRow(s);
  const before = list.key ? JSON.parse(list.key) : [], sameSet = before[0] === s.set, again = sameSet && before[1] === s.q;
  list.key = key;
  list.columns = columnNames(s);
  list.pages.clear();
  list.abort?.abort();
  list.abort = new AbortController();
  try {
    const first = await ask(rowsPath(s, { from: 0, n: PAGE, find: s.id ?? -1 }), undefined, list.abort.signal);
    list.pages.set(0, first.rows);
    list.total = app.total = first.total;
    $("q-error").hidden = true;
    $("count").textContent = first.total === app.set.features ? `${num(first.total)} features` : `${num(first.total)} of ${num(app.set.features)} features`;
    $("none").hidden = first.total > 0;
    showHead(s);
    $("scroll").scrollTop = !sameSet && first.place > 8 ? (first.place - 4) * ROW : 0;
    drawRows();
    if (!again) showDensity(s);
    if (s.view === "feature" && s.id === null && first.rows.length && !narrow()) go({ id: first.rows[0][0] }, true);
  } catch (e) {
    if (e.name === "AbortError") return;
    $("q-error").textContent = e.message;
    $("q-error").hidden = false;
  }
}

function showHead(s) {
  const one = (name, title, help, n) => el("th", { scope: "col", class: n ? "num" : "", title: help, "aria-sort": s.sort === name ? (s.down ? "descending" : "ascending") : "none" },
    el("button", { type: "button", "data-sort": name, onclick: () => go({ sort: name, down: state().sort === name ? !state().down : name !== "id" && name !== "label" }, true) },
      title + (s.sort === name ? (s.down ? " ↓" : " ↑") : "")));
  const cols = list.columns.map((n) => app.set.columns.find((c) => c.name === n)).map((c) => one(c.name, c.title, c.help, c.type !== "text"));
  $("head").replaceChildren(one("star", "★", "Starred features first"), one("id", "#", "The feature's number", true), one("label", "Label", "What people or programs call it"), ...cols);
  $("column-list").replaceChildren(...app.set.columns.map((c) => el("label", { title: c.help }, el("input", { type: "checkbox", checked: list.columns.includes(c.name), onchange: (e) => {
    const now = e.target.checked ? [...list.columns, c.name] : list.columns.filter((x) => x !== c.name);
    go({ columns: app.set.columns.map((x) => x.name).filter((x) => now.includes(x)).join(",") }, true);
  } }), " " + c.title)));
}

function tableRow(r, s, place) {
  const texts = list.columns.map((n, i) => [app.set.columns.find((c) => c.name === n).type, r[3 + i]]);
  return el("tr", { class: "row", "data-id": r[0], "aria-rowindex": place + 2, "aria-selected": String(r[0]) === s.id ? "true" : "false", onclick: () => go({ id: r[0], view: "feature" }) },
    el("td", {}, r[1] ? el("span", { title: "starred" }, "★") : ""), el("td", { class: "num" }, el("a", { href: address({ id: r[0], view: "feature" }) }, String(r[0]))),
    el("td", { class: "what", title: r[2] || "" }, r[2] || ""),
    texts.map(([type, v]) => el("td", { class: type === "text" ? "tok" : "num" }, type === "text" ? (v === null ? "–" : shown(v)) : num(v))));
}

/** A token as text in which nothing is invisible. */
export function shown(t) {
  const s = t.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/\r/g, "␍");
  return s.trim() === "" ? s.replace(/ /g, "␣") || "∅" : s;
}

async function page(p) {
  if (list.pages.has(p)) return;
  list.pages.set(p, null);
  const key = list.key;
  try {
    const got = await ask(rowsPath(state(), { from: p * PAGE, n: PAGE }), undefined, list.abort.signal);
    if (key === list.key) {
      list.pages.set(p, got.rows);
      drawRows();
    }
  } catch (e) {
    list.pages.delete(p);
  }
}

function drawRows() {
  const s = state(), box = $("scroll"), first = Math.max(0, Math.floor(box.scrollTop / ROW) - 10), last = Math.min(list.total, first + Math.ceil(box.clientHeight / ROW) + 20);
  const rows = [], width = 3 + list.columns.length, gap = (n) => el("tr", { class: "spacer", "aria-hidden": "true" }, el("td", { colspan: width, style: { height: n * ROW + "px" } }));
  for (let i = first; i < last; i++) {
    const got = list.pages.get(Math.floor(i / PAGE));
    if (!got) page(Math.floor(i / PAGE));
    rows.push(got && got[i % PAGE] ? tableRow(got[i % PAGE], s, i) : gap(1));
  }
  $("table").setAttribute("aria-rowcount", list.total + 1);
  $("rows").replaceChildren(gap(first), ...rows, gap(list.total - last));
}
$("scroll").addEventListener("scroll", () => requestAnimationFrame(drawRows));
window.addEventListener("resize", () => app.set && drawRows());

function markRow(s) {
  for (const tr of $("rows").querySelectorAll("tr.row")) tr.setAttribute("aria-selected", tr.dataset.id === s.id ? "true" : "false");
}

/** A row's star or label has changed. */
export function changed(id, marks) {
  for (const rows of list.pages.values())
    for (const r of rows || [])
      if (r[0] === id) [r[1], r[2]] = [marks.star, marks.labels.length ? marks.labels[0].text : null];
  drawRows();
}

async function step(by) {
  const s = state(), got = await ask(rowsPath(s, { from: 0, n: 0, find: s.id ?? -1 }));
  const place = s.id === null || got.place < 0 ? 0 : got.place + by;
  if (place < 0 || place >= got.total) return;
  const next = await ask(rowsPath(s, { from: place, n: 1 })), box = $("scroll");
  go({ id: next.rows[0][0], view: "feature" });
  if (place * ROW < box.scrollTop || (place + 2) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (place - 4) * ROW;
}

// ---- densities ----

async function showDensity(s) {
  const d = await ask(`set/${encodeURIComponent(s.set)}/density?` + new URLSearchParams({ q: s.q }), undefined, list.abort.signal);
  const W = 440, H = 112, left = 46, right = 4, base = 84, top = 16, n = d.all.length, most = Math.max(1, ...d.all, d.dead[0]);
  const x = (b) => left + (b / n) * (W - left - right), y = (v) => (v ? Math.max(2, (Math.sqrt(v / most)) * (base - top)) : 0);
  const bar = (at, w, v, cls, name) => el("rect", { x: at, y: base - y(v), width: Math.max(1, w - 1), height: y(v), class: cls, "data-name": name });
  const g = [el("rect", { class: "zone", x: x(n * (1 - d.dense_from / d.lowest)), y: top - 12, width: W - right - x(n * (1 - d.dense_from / d.lowest)), height: base - top + 12 }),
    el("rect", { class: "zone", x: 2, y: top - 12, width: 24, height: base - top + 12 }), bar(7, 14, d.dead[0], "all"), bar(7, 14, d.dead[1], "fit"),
    el("text", { x: 14, y: base + 14, "text-anchor": "middle" }, "dead"), el("text", { x: W - right, y: top - 2, "text-anchor": "end" }, "dense")];
  d.all.forEach((v, b) => g.push(bar(x(b), x(1) - x(0), v, "all"), bar(x(b), x(1) - x(0), d.fit[b], "fit")));
  g.push(el("line", { class: "axis", x1: 0, x2: W, y1: base + .5, y2: base + .5 }));
  for (let p = Math.ceil(d.lowest); p <= 0; p++) g.push(el("text", { x: x(n * (1 - p / d.lowest)), y: base + 14, "text-anchor": p ? "middle" : "end" }, p ? "1e" + p : "1"));
  g.push(el("text", { x: left + (W - left) / 2, y: H - 1, "text-anchor": "middle" }, "density: share of tokens a feature fires on. Drag to filter"));
  const ends = range(s.q, d.lowest), whole = ends[0] <= 0 && ends[1] >= 1;
  const brush = el("rect", { class: "brush", x: x(n * ends[0]), y: top - 12, height: base - top + 12, width: whole ? 0 : x(n * ends[1]) - x(n * ends[0]) });
  const power = (v) => (10 ** (d.lowest * (1 - v))).toPrecision(2).replace("e+", "e");
  const filter = (a, b) => {
    const rest = state().q.replace(DENSITY, "").trim(), term = a <= 0 && b >= 1 ? "" : a <= 0 ? `density:<=${power(b)}` : b >= 1 ? `density:>=${power(a)}` : `density:${power(a)}..${power(b)}`;
    const q = `${rest} ${term}`.trim();
    $("q").value = q;
    go({ q }, true);
  };
  const handle = (k) => el("rect", { class: "handle", x: x(n * ends[k]) - (k ? 1 : 4), y: top - 12, width: 5, height: base - top + 12, rx: 2, tabindex: 0, role: "slider", "data-end": k,
    "aria-label": k ? "Highest density in the list" : "Lowest density in the list", "aria-orientation": "horizontal", "aria-valuemin": d.lowest, "aria-valuemax": 0,
    "aria-valuenow": (d.lowest * (1 - ends[k])).toFixed(2), "aria-valuetext": `${power(ends[k])} of the tokens`, onkeydown: (e) => {
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 }[e.key], at = ends.map((v) => Math.round(v * n));
      if (e.key === "Delete" || e.key === "Backspace") at[0] = 0, at[1] = n;
      else if (e.key === "Home") at[k] = k ? at[0] + 1 : 0;
      else if (e.key === "End") at[k] = k ? n : at[1] - 1;
      else if (!by) return;
      else if (!e.shiftKey) at[k] = k ? Math.min(n, Math.max(at[0] + 1, at[1] + by)) : Math.max(0, Math.min(at[1] - 1, at[0] + by));
      else if (at[0] + by >= 0 && at[1] + by <= n) at[0] += by, at[1] += by;
      e.preventDefault();
      filter(at[0] / n, at[1] / n);
    } });
  const dead = d.dead[0], label = `Densities of ${num(d.total)} features; ${num(dead)} never fire, ${num(d.dense[0])} fire on more than a tenth of the tokens`;
  const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": label }, g, brush, handle(0), handle(1));
  const place = (e) => Math.min(1, Math.max(0, ((e.clientX - svg.getBoundingClientRect().left) / svg.getBoundingClientRect().width * W - left) / (W - left - right)));
  let from = null;
  svg.addEventListener("pointerdown", (e) => { from = place(e); svg.setPointerCapture(e.pointerId); });
  svg.addEventListener("pointermove", (e) => {
    if (from === null) return;
    brush.setAttribute("x", x(n * Math.min(from, place(e))));
    brush.setAttribute("width", Math.abs(x(n * place(e)) - x(n * from)));
  });
  svg.addEventListener("pointerup", (e) => {
    const a = Math.min(from, place(e)), b = Math.max(from, place(e));
    from = null;
    if (b - a < .01) filter(0, 1);
    else filter(a, b);
  });
  const held = document.activeElement?.dataset.end;
  $("density").replaceChildren(svg);
  if (held) svg.querySelector(`[data-end="${held}"]`).focus();
}

// The term of a search that the brush stands for, and its ends as shares of the axis; the whole axis without one.
const DENSITY = /(^|\s)density:\S+/;

function range(q, lowest) {
  const t = (DENSITY.exec(q) || [""])[0].replace(/^\s*density:/, ""), [a, b] = t.includes("..") ? t.split("..") : t[0] === "<" ? ["", t] : t[0] === ">" ? [t, ""] : [t, t];
  const at = (v, none) => { const p = Number(v.replace(/^[<>]=?/, "")); return v && p > 0 ? Math.min(1, Math.max(0, 1 - Math.log10(p) / lowest)) : none; };
  return [at(a, 0), at(b, 1)];
}

// ---- all together ----

const narrow = () => matchMedia("(max-width: 46rem)").matches;
let drawn = "";

async function show() {
  const s = state();
  const set = app.sets.find((x) => x.name === s.set) || app.sets[0];
  if (!set) return;
  if (s.set !== set.name) return go({ set: set.name, id: null, c: null }, true);
  app.set = set;
  $("set").value = set.name;
  if (document.activeElement !== $("q")) $("q").value = s.q;
  for (const a of document.querySelectorAll("nav a")) {
    a.hidden = a.dataset.view === "compositions" && !set.compositions;
    a.href = address({ view: a.dataset.view, c: null, ...(a.dataset.view === "steer" && s.id !== null && !s.clamps ? { clamps: `${s.id}:` } : {}) });
    a.toggleAttribute("aria-current", s.view === a.dataset.view);
  }
  document.body.classList.toggle("detail", s.view !== "feature" || s.id !== null);
  showList(s);
  const what = views.key(s);
  if (what === drawn) return;
  drawn = what;
  $("detail").scrollTop = 0;
  document.title = (s.view === "feature" ? (s.id === null ? "features" : "#" + s.id) : s.view) + " · " + set.title + " · saelab";
  const back = el("a", { class: "back", href: address({ view: "feature", id: null }) }, "‹ All features");
  try {
    const made = await (views[s.view] || views.feature)(s, set);
    if (what === drawn) $("detail").replaceChildren(back, ...[made].flat());
  } catch (e) {
    if (what === drawn) $("detail").replaceChildren(back, el("p", { class: "error", role: "alert" }, e.message));
  }
}

let wait;
$("q").addEventListener("input", () => {
  clearTimeout(wait);
  wait = setTimeout(() => go({ q: $("q").value }, true), 120);
});
$("search").addEventListener("submit", (e) => {
  e.preventDefault();
  clearTimeout(wait);
  const one = /^\s*#(\d+)\s*$/.exec($("q").value);
  go(one ? { q: "", id: one[1], view: "feature" } : { q: $("q").value });
  $("q").blur();
});
$("set").addEventListener("change", () => go({ set: $("set").value, id: null, columns: null, c: null }));
$("help-open").addEventListener("click", () => $("help").showModal());
document.addEventListener("click", (e) => { if (!e.target.closest("#columns")) $("columns").open = false; });
document.addEventListener("keydown", (e) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (e.key === "Escape" && typing) return document.activeElement.blur();
  if (typing || e.ctrlKey || e.metaKey || e.altKey || $("help").open) return;
  const act = { j: () => step(1), k: () => step(-1), "/": () => $("q").focus(), "?": () => $("help").showModal(), s: () => document.querySelector(".star")?.click() }[e.key];
  if (act) {
    e.preventDefault();
    act();
  }
});

try {
  app.sets = (await ask("sets")).sets;
  $("set").replaceChildren(...app.sets.map((s) => el("option", { value: s.name }, s.title)));
  show();
} catch (e) {
  $("detail").replaceChildren(el("p", { class: "empty" }, e.message));
}
