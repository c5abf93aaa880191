// What stands on the right: a feature (or composition), Text, Compare, Steer. Each view gives elements for a state.
import { address, app, ask, changed, el, go, num, shown, state } from "./browse.js";

const api = (set, rest) => `set/${encodeURIComponent(set)}/${rest}`;
const percent = (v) => (v > 0 && v < .001 ? "<0.1%" : `${(v * 100).toFixed(1)}%`);
const rounded = (v) => (v === null || v === undefined ? "–" : v.toFixed(2));

// ---- pictures ----

/** Bars of counts from lo to hi; the tallest is named by a text for those who do not see it. */
function bars(counts, lo, hi, label, log) {
  const W = 440, H = 104, base = 82, most = Math.max(1, ...counts), w = W / counts.length, f = log ? (v) => Math.log1p(v) / Math.log1p(most) : (v) => v / most;
  return el("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label },
    counts.map((v, i) => el("rect", { class: "fit", x: i * w, y: base - (v ? Math.max(1.5, f(v) * (base - 6)) : 0), width: w - 1, height: v ? Math.max(1.5, f(v) * (base - 6)) : 0 })),
    el("line", { class: "axis", x1: 0, x2: W, y1: base + .5, y2: base + .5 }),
    el("text", { x: 0, y: H - 6 }, num(lo)), el("text", { x: W, y: H - 6, "text-anchor": "end" }, num(hi)));
}

const meter = (share, negative) => el("span", { class: "meter" + (negative ? " neg" : ""), style: { width: Math.max(2, Math.min(1, Math.abs(share)) * 72) + "px" } });

function featureTable(set, rows, title) {
  return el("table", { class: "small" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Feature"), el("th", { scope: "col" }, "Label or token"), el("th", { scope: "col", class: "num" }, title))),
    el("tbody", {}, rows.map(([id, v, label, token]) => el("tr", {}, el("td", {}, el("a", { href: address({ set, view: "feature", id }) }, "#" + id)),
      el("td", { class: label ? "" : "tok" }, label || (token === null ? "" : shown(token))), el("td", { class: "num" }, num(v))))));
}

// ---- text with activations ----

function white(t) {
  if (!/^\s+$/.test(t)) return t.replace(/\n/g, "↵").replace(/\t/g, "⇥");
  return el("span", { class: "ws" }, t.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "·"));
}

/** One token; colour, underline and the value on focus say how strongly the feature fires there. */
function token(t, level, max, focus) {
  if (!(level > 0) && !focus) return el("span", { class: "t" }, t === " " ? " " : white(t));
  const share = max > 0 ? level / max : 0, cls = !(level > 0) ? "" : share > .66 ? " f3" : share > .33 ? " f2" : " f1";
  return el("span", { class: "t" + cls + (focus ? " focus" : ""), "data-v": level > 0 ? num(level) : "silent", tabindex: focus ? 0 : -1, "aria-label": `${shown(t)}, activation ${level > 0 ? num(level) : "none"}` }, white(t));
}

function context(set, c, max) {
  const spans = c.text.map((t, i) => token(t, c.level[i], max, i === c.focus));
  const more = el("td", { class: "more" }, c.same ? `+${c.same} alike` : "");
  const row = el("tr", { class: "c", title: c.row >= 0 ? `row ${c.row}` : c.doc >= 0 ? `document ${c.doc}, token ${c.pos}` : "" },
    el("td", { class: "v" }, c.value > 0 ? num(c.value) : "silent"), el("td", { class: "l" }, el("span", {}, spans.slice(0, c.focus))), el("td", { class: "r" }, spans.slice(c.focus)), more);
  let open = null;
  const expand = async () => {
    if (open) {
      open.remove();
      open = null;
      return;
    }
    const around = await ask(api(set, `around/${c.at}`));
    const first = around.focus - c.focus;
    open = el("tr", { class: "around" }, el("td", { colspan: 4 }, around.text.map((t, i) => {
      const k = i - first, inside = k >= 0 && k < c.text.length, s = token(t, inside ? c.level[k] : 0, max, i === around.focus);
      if (t === "\n") s.append("\n");
      return s;
    })));
    row.after(open);
  };
  row.addEventListener("click", expand);
  row.addEventListener("keydown", (e) => {
    const fired = spans.filter((s) => s.hasAttribute("data-v")), at = fired.indexOf(document.activeElement);
    if (e.key === "Enter") expand();
    else if (e.key === "ArrowRight" || e.key === "ArrowLeft") fired[at + (e.key === "ArrowRight" ? 1 : -1)]?.focus();
    else return;
    e.preventDefault();
  });
  return row;
}

function contextTable(set, list, max, label) {
  return el("table", { class: "contexts", "aria-label": label }, el("tbody", {}, list.map((c) => context(set, c, max))));
}

function contexts(set, f) {
  const of = (kind) => f.contexts.filter((c) => c.kind === kind), out = [], top = of("top"), parts = of("quantile"), near = of("near"), silent = of("silent");
  const add = (title, list, hint) => list.length && out.push(el("h3", { title: hint }, title), contextTable(set.name, list, f.max, title));
  out.push(el("h2", {}, "Where it fires"));
  if (!f.contexts.length) return [...out, el("p", { class: "soft" }, "It never fires in these rows.")];
  add("Strongest", top);
  for (const k of [...new Set(parts.map((c) => c.quantile))].sort((a, b) => b - a))
    add(`Part ${k + 1} of ${set.quantiles} by strength`, parts.filter((c) => c.quantile === k), "Its active tokens in equal parts by activation; two of each at random");
  if (near.length || silent.length) out.push(el("h2", {}, "Where it is silent"));
  add("Near misses: the same token", near);
  add("At random", silent);
  return out;
}

// ---- marks ----

function marks(set, f) {
  let now = f.marks;
  const save = async (body) => {
    const note = said;
    try {
      now = await ask(api(set, `mark/${f.id}`), body);
      changed(f.id, now);
      note.textContent = "Saved.";
      star.setAttribute("aria-pressed", now.star);
      star.textContent = now.star ? "★" : "☆";
      title.textContent = now.labels.length ? now.labels[0].text : "No label yet";
      title.classList.toggle("soft", !now.labels.length);
    } catch (e) {
      note.textContent = e.message;
    }
  };
  const said = el("span", { class: "busy", role: "status" });
  const star = el("button", { class: "star", type: "button", "aria-pressed": String(now.star), "aria-label": "Star", title: "Star (s)", onclick: () => save({ star: !now.star }) }, now.star ? "★" : "☆");
  const title = el("span", { id: "label-shown", class: now.labels.length ? "" : "soft" }, now.labels.length ? now.labels[0].text : "No label yet");
  const mine = now.labels.find((l) => l.source === "me"), others = now.labels.filter((l) => l.source !== "me");
  const field = (name, value, hint, tag) => [el("label", { for: "m-" + name }, name[0].toUpperCase() + name.slice(1)),
    el(tag || "input", { id: "m-" + name, value, placeholder: hint, rows: tag ? 2 : null, maxlength: name === "note" ? 1000 : 120, onchange: (e) => save({ [name]: e.target.value.trim() }) })];
  return [
    el("div", { class: "title" }, el("h1", {}, el("span", { class: "id" }, `#${f.id} `), title), star, said),
    others.length ? el("p", { class: "soft" }, others.map((l, i) => [i ? "; " : "", `${l.source}: ${l.text}`, l.score === null ? "" : ` (score ${rounded(l.score)})`])) : null,
    (edit) => el("div", { class: "marks" }, field("label", mine ? mine.text : "", "What does it mean to you?"), field("tags", now.tags, "words, joined by spaces"), field("note", now.note, "", "textarea")),
  ];
}

// ---- one feature ----

function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.filter(Boolean).map(([dt, dd]) => el("div", {}, el("dt", {}, dt), el("dd", {}, dd))));
}

function lens(f) {
  if (!f.lens) return null;
  const most = Math.max(...f.lens.up.map((x) => Math.abs(x[1])), ...f.lens.down.map((x) => Math.abs(x[1]))) || 1;
  const side = (title, rows) => el("div", {}, el("h3", {}, title), el("table", { class: "small" }, el("tbody", {}, rows.map(([t, v]) => el("tr", {}, el("td", { class: "tok" }, shown(t)), el("td", {}, meter(v / most, v < 0)), el("td", { class: "num" }, num(v)))))));
  return [el("h2", {}, "What it writes"), el("div", { class: "pair" }, side("Raises the logit of", f.lens.up), side("Lowers the logit of", f.lens.down)),
    el("figure", { class: "plot" }, bars(f.lens.hist, f.lens.min, f.lens.max, "Histogram of its effect on all tokens' logits", true))];
}

/** A robustness curve: FSS against the achieved magnitude of the noise, with its band. */
function curve({ noise, points }) {
  const W = 300, H = 130, left = 30, base = 100, top = 8, right = W - 8, most = points[points.length - 1][0] || 1;
  const at = (x, y) => `${(left + x / most * (right - left)).toFixed(1)} ${(base - Math.max(0, Math.min(1, y)) * (base - top)).toFixed(1)}`;
  const line = points.map(([x, y], i) => (i ? "L" : "M") + at(x, y)).join(""), back = points.slice().reverse().map(([x, , lo]) => "L" + at(x, lo)).join("");
  const tick = (x, y, text, anchor) => el("text", { x, y, "text-anchor": anchor }, text);
  return el("svg", { class: "curve", viewBox: `0 0 ${W} ${H}`, role: "img" }, el("title", {}, `FSS of this SAE under ${noise} noise`),
    el("desc", {}, `From ${rounded(points[0][1])} at magnitude ${num(points[0][0])} to ${rounded(points[points.length - 1][1])} at ${num(most)}`),
    el("path", { class: "band", d: points.map(([x, , , hi], i) => (i ? "L" : "M") + at(x, hi)).join("") + back + "Z" }), el("path", { class: "fine", d: line }),
    el("line", { class: "axis", x1: left, x2: right, y1: base, y2: base }), tick(left - 4, top + 8, "1", "end"), tick(left - 4, base, "0", "end"),
    tick(left, base + 13, "0", "start"), tick(right, base + 13, num(most), "end"), tick((left + right) / 2, base + 27, `${noise}: share of the norm`, "middle"));
}

const SCORES = { fss: "FSS and SCI come with saelab features build --stability ROWS", sci: "", reproducibility: "reproducibility needs other seeds of the arm beside it" };

function stability(f, set, curves) {
  const names = Object.keys(SCORES), column = (n) => set.columns.find((c) => c.name === n), known = names.filter(column), missing = names.filter((n) => !column(n) && SCORES[n]).map((n) => SCORES[n]);
  const th = (t, n) => el("th", { scope: "col", class: n ? "num" : "" }, t);
  return [known.length ? el("table", { class: "small", id: "scores" }, el("thead", {}, el("tr", {}, th("Score"), th("This feature", true), th("Mean of all", true))),
      el("tbody", {}, known.map((n) => el("tr", { title: column(n).help }, el("td", {}, column(n).title), el("td", { class: "num" }, f.columns[n] === null ? "not known" : rounded(f.columns[n])), el("td", { class: "num" }, rounded(column(n).mean)))))) : null,
    missing.length ? el("p", { class: "soft" }, `Not measured: ${missing.join("; ")}.`) : null,
    curves.length ? [el("h3", {}, "Robustness of the whole SAE"), el("div", { class: "curves" }, curves.map(curve))] : el("p", { class: "soft" }, "No robustness curve: only an SAE in a run that measured stability has one.")];
}

function inCompositions(f, set) {
  if (!set.compositions) return el("p", { class: "soft" }, set.variant === "compositional" ? "Not in this index: saelab features build makes it anew." : "This SAE does not compose: compositions come with the variant compositional.");
  if (!f.compositions.length) return el("p", { class: "soft" }, "It takes part in none.");
  return el("table", { class: "small" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Composition"), el("th", { scope: "col", class: "num" }, "Its share"))),
    el("tbody", {}, f.compositions.map(([q, v]) => el("tr", {}, el("td", {}, el("a", { href: address({ view: "compositions", c: q }) }, "c" + q)), el("td", { class: "num" }, percent(v))))));
}

function folded(f, set, curves) {
  const truth = set.columns.filter((x) => ["f1", "truth"].includes(x.name) && f.columns[x.name] !== null).map((x) => [x.title, f.columns[x.name]]);
  const fold = (title, ...body) => el("details", { class: "fold" }, el("summary", {}, title), body.flat(9).filter(Boolean));
  return [
    fold("Stability", stability(f, set, curves)),
    fold("Compositions", inCompositions(f, set)),
    truth.length ? fold("Ground truth", facts(truth.map(([t, v]) => [t, typeof v === "number" ? rounded(v) : shown(v)]))) : null,
  ];
}

async function feature(s, set) {
  if (s.id === null) return el("p", { class: "empty" }, "Choose a feature on the left, or press j.");
  const f = await ask(api(set.name, `feature/${encodeURIComponent(s.id)}`)), { curves } = await ask(api(set.name, "stability")), [head, others, edit] = marks(set.name, f);
  return [head, others,
    facts([["density", num(f.density)], ["fires on", `${num(f.fired)} rows`], ["largest", num(f.max)], ["mean when active", num(f.mean)], f.columns.norm !== undefined && ["decoder norm", num(f.columns.norm)]]),
    f.tokens.length ? [el("h3", {}, "Fires mostly on"), el("div", { class: "chips" }, f.tokens.map(([t, v]) => el("span", { class: "chip" }, el("code", {}, shown(t)), ` ${Math.round(v * 100)}%`)))] : null,
    set.lm ? el("p", {}, el("a", { href: address({ view: "steer", clamps: `${f.id}:${Number((f.max || 1).toPrecision(2))}` }) }, "Steer with it"), "  ·  ", el("a", { href: address({ view: "text" }) }, "Try it on a text")) : null,
    edit(),
    contexts(set, f).flat(),
    f.fired ? [el("h2", {}, "How strongly"), el("figure", { class: "plot" }, bars(f.hist, 0, f.max, `Histogram of its activations up to ${num(f.max)}, logarithmic counts`, true))] : null,
    lens(f),
    el("h2", {}, "Neighbours"),
    el("div", { class: "pair" }, el("div", {}, el("h3", {}, "By direction (cosine of decoder rows)"), featureTable(set.name, f.cosine, "cosine")), el("div", {}, el("h3", {}, "By firing together (phi)"), featureTable(set.name, f.cofire, "phi"))),
    folded(f, set, curves.filter((c) => c.points.length > 1)),
  ].flat(9).filter(Boolean);
}

// ---- compositions ----

const memberLinks = (set, list) => list.map(([id, , label, token], i) => [i ? ", " : "", el("a", { href: address({ set, view: "feature", id, c: null }) }, "#" + id), " ", label ? label : el("code", {}, token === null ? "" : shown(token))]);

/** pi_q(i, j) as a table in two colours; the sign is written too. */
function heat({ latents, pi }) {
  const most = Math.max(1e-12, ...pi.flat().map(Math.abs)), head = (i, scope) => el("th", { scope }, "#" + i);
  const value = (v) => (v === 0 ? "" : Math.abs(v) < .005 ? ".00" : v.toFixed(2).replace(/^(-?)0\./, "$1."));
  return [el("p", { class: "soft" }, `The row's feature receives, the column's is attended to: mean over the rows where both fire with it, in units of the largest, ${num(most)}.`),
    el("div", { class: "scroll" }, el("table", { class: "heat", "aria-label": "Attribution of the interaction" }, el("thead", {}, el("tr", {}, el("td", {}), latents.map((i) => head(i, "col")))),
    el("tbody", {}, pi.map((row, i) => el("tr", {}, head(latents[i], "row"), row.map((v) => el("td", { style: { background: `rgba(var(${v < 0 ? "--cold" : "--fire"}), ${(Math.abs(v) / most * .55).toFixed(2)})` } }, value(v / most))))))))];
}

async function composition(s, set) {
  const d = await ask(api(set.name, `composition/${encodeURIComponent(s.c)}`)), th = (t, n) => el("th", { scope: "col", class: n ? "num" : "" }, t);
  const head = [el("p", {}, el("a", { href: address({ c: null }) }, "‹ All compositions")), el("h1", {}, `Composition c${d.q}`)];
  if (!d.fired) return [...head, el("p", { class: "soft" }, `Dead: it never fired in ${num(d.rows)} rows.`)];
  return [...head, facts([["share of the energy", percent(d.energy)], ["fires on", percent(d.fired / d.rows) + " of the rows"], ["strongest", num(d.contexts.length ? d.contexts[0].value : null)]]),
    el("h2", {}, "Members, by their share of the interaction"), d.members.length ? featureTable(set.name, d.members, "share") : el("p", { class: "soft" }, "It is spread over many: no feature has a tenth of it."),
    el("h2", {}, "Interaction by attribution"), heat(d.heat),
    d.pairs.length ? [el("h2", {}, "Strongest pairs"), el("table", { class: "small", id: "pairs-of" }, el("thead", {}, el("tr", {}, th("Pair"), th("Attribution", true), th("By ablation", true))),
      el("tbody", {}, d.pairs.map(([i, j, v, index]) => el("tr", {}, el("td", {}, el("a", { href: address({ view: "feature", id: i, c: null }) }, "#" + i), " with ", el("a", { href: address({ view: "feature", id: j, c: null }) }, "#" + j)), el("td", { class: "num" }, num(v)), el("td", { class: "num", title: index === null ? "no row with both" : "" }, num(index))))))] : null,
    el("h2", {}, "Where it is strongest"), contextTable(set.name, d.contexts.map((c) => ({ ...c, level: c.text.map((t, i) => (i === c.focus ? c.value : 0)), same: 0, row: -1, doc: -1 })), d.contexts.length ? d.contexts[0].value : 0, "Contexts")].flat(9).filter(Boolean);
}

async function compositions(s, set) {
  if (s.c !== null) return composition(s, set);
  const d = await ask(api(set.name, "compositions")), list = d.list.sort((a, b) => b.energy - a.energy || a.q - b.q), most = Math.max(1e-12, ...list.map((u) => u.energy)), dead = list.filter((u) => !u.fired).length;
  const th = (t, n) => el("th", { scope: "col", class: n ? "num" : "" }, t);
  return [el("h1", {}, "Compositions"), el("p", { class: "soft" }, `What this SAE adds where several features fire together. ${num(list.length - dead)} fire in ${num(d.rows)} rows, ${num(dead)} are dead.`),
    el("table", { class: "small", id: "compositions" }, el("thead", {}, el("tr", {}, th(""), th("Members, by their share"), th("Energy", true), th(""), th("Rows", true))),
      el("tbody", {}, list.map((u) => el("tr", { class: u.fired ? "" : "soft" }, el("td", {}, el("a", { href: address({ c: u.q }) }, "c" + u.q)), el("td", {}, !u.fired ? "dead" : u.members.length ? memberLinks(set.name, u.members.slice(0, 4)).flat() : el("span", { class: "soft" }, "spread over many")),
        el("td", { class: "num" }, u.fired ? percent(u.energy) : ""), el("td", {}, u.fired ? meter(u.energy / most) : ""), el("td", { class: "num" }, u.fired ? percent(u.fired / d.rows) : "")))))];
}

// ---- text ----

const SAMPLE = "The old king went down to the river, and there he waited for the morning.";

function why(w, tokens) {
  const most = Math.max(...w.pre.map((v) => Math.abs(v ?? 0)), ...w.need.map((v) => v ?? 0), 1e-9), known = w.pre.some((v) => v !== null);
  if (!known) return el("p", { class: "soft" }, w.reason || "Its pre-activation is not known.");
  return el("table", { class: "small" }, el("thead", {}, el("tr", {}, ["Token", "Pre-activation", "", "Had to exceed", "Fires"].map((t, i) => el("th", { scope: "col", class: i === 1 || i === 3 ? "num" : "" }, t)))),
    el("tbody", {}, tokens.map((t, i) => el("tr", {}, el("td", { class: "tok" }, shown(t.text)), el("td", { class: "num" }, num(w.pre[i])), el("td", {}, meter(w.pre[i] / most, w.pre[i] < 0)), el("td", { class: "num" }, num(w.need[i])), el("td", {}, w.value[i] > 0 ? num(w.value[i]) : "no")))));
}

function textResult(set, d, chosen, pick) {
  const name = (id) => d.labels[id] || "", detail = el("div", {}), wanted = chosen === null ? -1 : Number(chosen);
  const words = d.tokens.map((t, i) => el("button", { type: "button", class: "word", "aria-pressed": "false", onclick: () => open(i) }, el("b", {}, shown(t.text)),
    t.top.slice(0, 3).map(([id, v]) => el("span", { class: id === wanted ? "hit" : "", title: name(id) }, `#${id} ${num(v)}`))));
  function open(i) {
    const t = d.tokens[i], most = t.top.length ? t.top[0][1] : 1;
    words.forEach((w, k) => w.setAttribute("aria-pressed", String(k === i)));
    detail.replaceChildren(el("h2", {}, "On ", el("code", {}, shown(t.text))), facts([["active features", num(t.l0)], ["loss, nats", rounded(t.loss)], ["loss through the SAE", rounded(t.spliced)]]),
      el("table", { class: "small" }, el("tbody", {}, t.top.map(([id, v]) => el("tr", {}, el("td", {}, el("a", { href: address({ view: "feature", id }) }, "#" + id)), el("td", {}, name(id)), el("td", {}, meter(v / most)), el("td", { class: "num" }, num(v)), el("td", {}, el("button", { type: "button", onclick: () => pick(id) }, "why")))))));
  }
  const mean = (k) => { const v = d.tokens.map((t) => t[k]).filter((x) => x !== null); return v.length ? v.reduce((a, b) => a + b) / v.length : null; };
  if (words.length) open(Math.max(0, d.tokens.length - 1));
  return [d.cut ? el("p", { class: "soft" }, `The first ${num(d.cut)} tokens do not fit the model and were left out.`) : null,
    facts([["tokens", num(d.tokens.length)], ["mean loss, nats", rounded(mean("loss"))], ["through the SAE", rounded(mean("spliced"))], ["active a token", num(mean("l0"))]]),
    el("div", { class: "flow" }, words), detail, d.why ? [el("h2", {}, `Feature #${d.why.feature}: why it fired, or not`), why(d.why, d.tokens)] : null].flat().filter(Boolean);
}

function text(s, set) {
  const out = el("div", { id: "text-out" }), busy = el("p", { class: "busy", role: "status" });
  const head = [el("h1", {}, "Text"), el("p", { class: "soft" }, "Type, and every token shows the features that fire on it most.")];
  if (!set.lm) return [...head, el("p", { class: "soft" }, "The language model and the SAE of this index are not at hand, so no text can be read here.")];
  let last = null, timer;
  const area = el("textarea", { id: "text", rows: 3, "aria-label": "Text", value: s.text || SAMPLE, spellcheck: "false", oninput: () => { clearTimeout(timer); timer = setTimeout(run, 150); } });
  const input = el("input", { id: "why", inputmode: "numeric", value: s.id ?? "", oninput: () => { clearTimeout(timer); timer = setTimeout(run, 150); } });
  const pick = (id) => { input.value = id; run(); };
  async function run() {
    last?.abort();
    last = new AbortController();
    const id = /^\s*#?(\d+)\s*$/.exec(input.value);
    history.replaceState(null, "", address({ text: area.value === SAMPLE ? "" : area.value, id: id ? id[1] : null }));
    busy.textContent = "";
    try {
      out.replaceChildren(...textResult(set.name, await ask(api(set.name, "text"), { text: area.value, ...(id ? { feature: Number(id[1]) } : {}) }, last.signal), id ? id[1] : null, pick));
    } catch (e) {
      if (e.name !== "AbortError") busy.textContent = e.message;
    }
  }
  run();
  return [...head, area, el("div", { class: "form" }, el("label", {}, "Explain feature", input)), busy, out];
}

// ---- compare ----

async function compare(s, set) {
  const others = app.sets.filter((x) => x.name !== set.name), head = [el("h1", {}, "Compare")];
  if (!others.length) return [...head, el("p", { class: "soft" }, "Only one SAE is open. Start saelab serve with two of them, or with a run that has several.")];
  const other = others.find((x) => x.name === s.other) || others[0];
  const pick = el("select", { id: "other", "aria-label": "With", onchange: (e) => go({ other: e.target.value }) }, others.map((x) => el("option", { value: x.name, selected: x === other }, x.title)));
  const rows = el("tbody", {}), more = el("button", { type: "button", onclick: () => load() }, "More"), summary = el("div", {}), busy = el("p", { class: "busy", role: "status" });
  const side = (name, x) => [el("td", {}, el("a", { href: address({ set: name, view: "feature", id: x.id, q: "" }) }, "#" + x.id)), el("td", { class: x.label ? "" : "tok" }, x.label || (x.token === null ? "" : shown(x.token))), el("td", { class: "num" }, num(x.density))];
  async function load() {
    busy.textContent = rows.children.length ? "" : "Comparing directions…";
    try {
      const d = await ask(api(set.name, `compare/${encodeURIComponent(other.name)}?from=${rows.children.length}&n=100`));
      busy.textContent = "";
      summary.replaceChildren(facts([["features that fire", num(d.total)], ["each other's nearest", num(d.matched)], ["without a partner", num(d.total - d.matched)], ["mean cosine to the nearest", rounded(d.mean_cosine)]]));
      rows.append(...d.rows.map((r) => el("tr", {}, side(set.name, r.a), el("td", { class: "num" }, rounded(r.cosine)), el("td", {}, meter(r.cosine, r.cosine < 0)), el("td", {}, r.mutual ? "yes" : "no"), side(other.name, r.b))));
      more.hidden = rows.children.length >= d.total;
    } catch (e) {
      busy.textContent = e.message;
      more.hidden = true;
    }
  }
  load();
  const th = (t, n) => el("th", { scope: "col", class: n ? "num" : "" }, t);
  return [...head, el("p", { class: "soft" }, "Every feature of ", el("b", {}, set.title), " with its nearest in ", pick, " by the cosine of decoder directions; those without a partner come first."), summary, busy,
    el("table", { class: "wide", id: "pairs" }, el("thead", {}, el("tr", {}, th("Here"), th("Label or token"), th("Density", true), th("Cosine", true), th(""), th("Mutual"), th("There"), th("Label or token"), th("Density", true))), rows), el("p", {}, more)];
}

// ---- steer ----

function steer(s, set) {
  const head = [el("h1", {}, "Steer"), el("p", { class: "soft" }, "The model writes on, once as it is and once with features held at a value; 0 switches a feature off.")];
  if (!set.lm) return [...head, el("p", { class: "soft" }, "The language model and the SAE of this index are not at hand, so nothing can be written here.")];
  const parts = (s.clamps || (s.id === null ? "" : `${s.id}:`)).split(",").filter(Boolean).map((c) => c.split(":"));
  const list = el("div", {}), busy = el("p", { class: "busy", role: "status" }), out = el("div", { class: "pair" });
  const field = (title, attributes) => { const input = el("input", attributes); return [el("label", {}, title, input), input]; };
  function row([id, value]) {
    const [l1, feature] = field("Feature", { class: "clamp-id", inputmode: "numeric", value: id ?? "" }), [l2, level] = field("Held at", { class: "clamp-value", inputmode: "decimal", value: value ?? "" });
    const r = el("div", { class: "form clamp" }, l1, l2, el("button", { type: "button", onclick: () => r.remove() }, "Remove"));
    list.append(r);
    if (feature.value && !level.value) ask(api(set.name, `feature/${encodeURIComponent(id)}`)).then((f) => { level.value = level.value || Number((f.max || 1).toPrecision(2)); }).catch(() => {});
  }
  (parts.length ? parts : [["", ""]]).forEach(row);
  const area = el("textarea", { id: "prompt", rows: 2, "aria-label": "Text to go on from", value: s.text || "The ", spellcheck: "false" });
  const [lt, tokens] = field("Tokens", { inputmode: "numeric", value: "60" }), [lh, heat] = field("Temperature", { inputmode: "decimal", value: "0.8" }), [ls, seed] = field("Seed", { inputmode: "numeric", value: "1" });
  const write = (title, given, pieces, against) => {
    const first = against ? pieces.findIndex((p, i) => p !== against[i]) : -1;
    return el("div", {}, el("h3", {}, title), el("p", { class: "out" }, el("span", { class: "given" }, given), pieces.map((p, i) => (first >= 0 && i >= first ? el("span", { class: p.trim() ? "new" : "" }, p) : p))));
  };
  const run = el("button", { type: "button", class: "main", id: "run", onclick: async () => {
    const clamps = [...list.children].map((r) => [r.querySelector(".clamp-id").value.replace("#", "").trim(), r.querySelector(".clamp-value").value.trim()]).filter((c) => c[0] && c[1]);
    history.replaceState(null, "", address({ clamps: clamps.map((c) => c.join(":")).join(","), text: area.value }));
    run.disabled = true;
    busy.textContent = "Writing…";
    try {
      const d = await ask(api(set.name, "steer"), { text: area.value, clamps: clamps.map(([id, v]) => ({ feature: Number(id), value: Number(v) })), tokens: Number(tokens.value), temperature: Number(heat.value), seed: Number(seed.value) });
      out.replaceChildren(write("As it is", area.value, d.plain), write("Steered", area.value, d.steered, d.plain));
      busy.textContent = d.plain.join("") === d.steered.join("") ? "The same text: the features change nothing here." : "";
    } catch (e) {
      busy.textContent = e.message;
    }
    run.disabled = false;
  } }, "Write");
  return [...head, area, list, el("div", { class: "form" }, el("button", { type: "button", onclick: () => row(["", ""]) }, "Add a feature"), lt, lh, ls, run), busy, out];
}

export const views = { feature, compositions, text, compare, steer,
  /** What of the state a view depends on: when it is the same, nothing is drawn again. */
  key: (s) => JSON.stringify(s.view === "feature" ? [s.set, s.view, s.id] : s.view === "compare" ? [s.set, s.view, s.other] : s.view === "compositions" ? [s.set, s.view, s.c] : [s.set, s.view, state().clamps && s.view === "steer" ? s.clamps : ""]) };
