"use strict";
// Everything that customers, bots and people wrote is put in as text, never as HTML.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const TICKS = { waiting: "M8 3v4l2.5 1.5", sent: "M4 6.5 7 9.5 13 3", two: "M1.5 6.5 4.5 9.5 10.5 3M8 9.5 14.5 3", failed: "M8 2.5v4M8 9v.5" };
const ICONS = { audio: "M12 4a2.5 2.5 0 0 1 2.5 2.5v5a2.5 2.5 0 0 1-5 0v-5A2.5 2.5 0 0 1 12 4zM6 11a6 6 0 0 0 12 0M12 17v3", location: "M12 21s-6.5-6-6.5-11a6.5 6.5 0 0 1 13 0c0 5-6.5 11-6.5 11zM12 12a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4z", other: "M6 3h8l4 4v14H6z" };
const GONE = "The connection is gone. Trying again.";
const LONG = 900; // characters of a bubble before "Read more"
let page = { bots: [], lies: [] };
let stream = null;
let state = { lines: [] };
let quotes = null;
let atEnd = true; // of the messages

// ---- building ----------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function drawing(name, path, box) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", name);
  svg.setAttribute("viewBox", box);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function ticks(status) {
  const known = { accepted: "sent", queued: "waiting", sending: "waiting", unknown: "waiting", played: "read", cancelled: "failed" };
  const tick = known[status] || status;
  const path = TICKS[tick] || TICKS[tick === "delivered" || tick === "read" ? "two" : "waiting"];
  return drawing(`ticks ${tick}`, path, "0 0 16 12");
}

// WhatsApp's marks: *bold* _italic_ ~struck~ `code` ```code```; "> " quotes, "- " lists.
const MARKS = /```([\s\S]+?)```|`([^`\n]+)`|(?<![\p{L}\p{N}*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\p{L}\p{N}*])|(?<![\p{L}\p{N}_])_(?=\S)([^_\n]+?)(?<=\S)_(?![\p{L}\p{N}_])|(?<![\p{L}\p{N}~])~(?=\S)([^~\n]+?)(?<=\S)~(?![\p{L}\p{N}~])/u;
const TAGS = ["code", "code", "strong", "em", "s"];

function marked(text, depth = 0) {
  const found = [];
  for (let rest = text; rest;) {
    const match = depth < 4 && MARKS.exec(rest);
    if (!match) { found.push(rest); break; }
    const which = match.slice(1).findIndex((group) => group !== undefined);
    const inner = match[which + 1];
    if (match.index) found.push(rest.slice(0, match.index));
    found.push(make(TAGS[which], {}, ...(which < 2 ? [inner] : marked(inner, depth + 1))));
    rest = rest.slice(match.index + match[0].length);
  }
  return found;
}

function formatted(text) {
  const box = make("div", { class: "text" });
  text.split(/(```[\s\S]+?```)/).forEach((part, place) => {
    if (place % 2) return box.append(...marked(part));
    part.split("\n").forEach((line, number, all) => {
      if (line.startsWith("> ")) return box.append(make("blockquote", {}, ...marked(line.slice(2))));
      box.append(...marked(line.replace(/^[-*] (?=\S)/, "\u2022 ")));
      if (number < all.length - 1) box.append("\n");
    });
  });
  return box;
}

// Keeps the nodes of what did not change, so that focus, selection and open details stay.
function show(list, items, key, build) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const before = old.get(String(key(item)));
    const is = JSON.stringify(item);
    if (before && before.dataset.is === is) return before;
    const node = build(item);
    node.dataset.key = key(item);
    node.dataset.is = is;
    const opened = before && before.querySelector("details[open]");
    const details = node.querySelector("details");
    if (opened && details) details.open = true;
    return node;
  });
  const wanted = new Set(nodes);
  for (const node of [...list.children]) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, place) => { if (list.children[place] !== node) list.insertBefore(node, list.children[place] || null); });
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const words = (name) => String(name).replaceAll("_", " ");

// ---- the phone ---------------------------------------------------------------------------------

function bubble(line) {
  const box = make("div", { class: "bubble", dir: "auto" });
  if (line.quoted != null) box.append(make("p", { class: "quote", dir: "auto" }, line.quoted));
  const medium = line.details.medium && `/media/${encodeURIComponent(line.details.medium)}`;
  if (medium && ["image", "sticker"].includes(line.kind)) box.append(make("img", { class: "photo", src: medium, alt: "Photo" }));
  if (medium && line.kind === "audio") {
    box.append(make("audio", { controls: true, preload: "metadata", src: medium, "aria-label": line.text }));
  } else if (medium && ["document", "video"].includes(line.kind)) {
    box.append(make("a", { class: "media file", href: medium, download: line.details.name || "file" }, drawing("", ICONS.other, "0 0 24 24"), make("span", {}, line.text)));
  } else if (line.kind === "image" && line.text === "Photo") {
    // nothing is written under it
  } else if (["text", "image", "interactive", "order"].includes(line.kind)) {
    box.append(formatted(line.text));
    if (line.text.length > LONG) {
      box.classList.add("long");
      const more = make("button", { type: "button", class: "more", onclick: () => { box.classList.remove("long"); more.remove(); } }, "Read more");
      box.append(more);
    }
  } else {
    const address = line.details.address ? `${line.text}, ${line.details.address}` : line.text;
    box.append(make("div", { class: "media" }, drawing("", ICONS[line.kind] || ICONS.other, "0 0 24 24"), make("span", {}, address)));
  }
  const below = pressable(line);
  const foot = make("footer", {}, clock(line.at));
  if (line.from === "customer") foot.append(ticks(line.tick), make("span", { class: "unseen tick" }, line.tick));
  box.append(foot);
  if (below) box.append(below);
  if (line.reactions.length) box.append(make("span", { class: "reactions" }, line.reactions.join(" ")));
  const reply = make("button", { type: "button", class: "quiet reply", "aria-label": "Quote this message", title: "Quote", onclick: () => quote(line) }, "\u21a9");
  return make("li", { class: `line ${line.from}${line.reactions.length ? " reacted" : ""}` }, box, reply);
}

// What can be pressed under a bot's message: buttons, a list behind its button, or a link.
function pressable(line) {
  const { choices, link, opens } = line.details;
  if (link) {
    // Whatever it says: only a web address can be opened, and in a tab that knows nothing of this one.
    const safe = /^https?:\/\//i.test(link.url);
    const shown = safe ? make("a", { class: "press", href: link.url, target: "_blank", rel: "noopener noreferrer" }, link.display_text) : make("span", {}, link.display_text);
    return make("div", { class: "choices" }, shown, make("small", { class: "link" }, link.url));
  }
  if (!choices) return null;
  const press = (each) => send(line.details.reply, each.title, { choice: each.id, about: line.wamid });
  const buttons = choices.map((each) =>
    make("button", { type: "button", class: "press", onclick: () => press(each) }, each.title, each.description ? make("small", {}, each.description) : null));
  if (line.details.reply !== "list_reply") return make("div", { class: "choices", role: "group", "aria-label": "Answers" }, ...buttons);
  return make("details", { class: "choices" }, make("summary", { class: "press" }, opens || "See choices"), ...buttons);
}

function quote(line) {
  quotes = line ? line.wamid : null;
  $("quoting").hidden = !line;
  $("quoted").textContent = line ? line.text : "";
  $("text").focus();
}

function showPhone() {
  const texts = new Map(state.lines.map((line) => [line.wamid, line.text]));
  const lines = state.lines.map((line) => ({ ...line, quoted: line.quotes ? texts.get(line.quotes) ?? null : null }));
  const wall = $("wall");
  const more = lines.length > $("lines").children.length;
  show($("lines"), lines, (line) => line.wamid, bubble);
  $("typing").hidden = !state.typing;
  $("presence").textContent = state.typing ? "typing\u2026" : "online";
  if (atEnd || (more && lines.at(-1).from === "customer")) wall.scrollTop = wall.scrollHeight;
}

// ---- the product -------------------------------------------------------------------------------

function turn(each) {
  const box = make("li", { class: "turn" });
  for (const input of each.inputs) box.append(make("p", { class: "in", dir: "auto" }, input.text || words(input.kind)));
  for (const event of each.events || []) box.append(make("p", { class: "in" }, event));
  if (each.reply) box.append(make("p", { class: "out", dir: "auto" }, each.reply.text || ""));
  const facts = make("dl");
  const fact = (name, ...value) => facts.append(make("div", {}, make("dt", {}, name), make("dd", {}, ...value)));
  if (each.open) fact("state", state.record.answering ? "being answered" : "waiting for the customer to finish");
  if (each.reply) {
    facts.append(make("div", {}, make("dt", {}, "reply"), make("dd", { class: "status" }, words(each.reply.status)), ticks(each.reply.status)));
    if (each.reply.kind && each.reply.kind !== "reply") fact("kind", words(each.reply.kind));
  } else if (!each.open) fact("reply", "none");
  if (each.reason) fact("reason", words(each.reason));
  if (each.inputs.length > 1) fact("messages", each.inputs.length);
  if (each.seconds != null) fact("thought", `${each.seconds.toFixed(2)} s`);
  if (each.reply && each.reply.model) fact("model", each.reply.model);
  box.append(facts);
  if (each.knowledge.length) {
    const count = each.knowledge.length;
    const rows = each.knowledge.map((row) => make("p", { dir: "auto" }, make("b", {}, row.question), row.answer));
    box.append(make("details", {}, make("summary", {}, `${count} knowledge row${count > 1 ? "s" : ""} used`), ...rows));
  }
  return box;
}

function action(each) {
  const note = make("input", { maxlength: 500, autocomplete: "off" });
  const buttons = ["approve", "deny"].map((verdict) =>
    make("button", { type: "button", class: verdict, onclick: () => decide(each, verdict, note.value.trim(), buttons) }, verdict === "approve" ? "Approve" : "Deny"));
  return make("section", { class: "card ask", "aria-label": "A decision is asked for" },
    make("h2", {}, `Waits for you: ${words(each.request_type)}`),
    make("p", { class: "wish", dir: "auto" }, each.request_details || ""),
    make("label", {}, "A word to the customer, if you like", note),
    make("div", { class: "both" }, ...buttons));
}

async function decide(each, verdict, note, buttons) {
  for (const button of buttons) button.disabled = true;
  const body = note ? { user_response: note } : {};
  const done = await call(`/bots/${$("bot").value}/v1/actions/${each.id}/${verdict}`, body);
  if (!done) for (const button of buttons) button.disabled = false;
}

function showUsage(usage) {
  if (!usage) return $("usage").replaceChildren(make("p", { class: "empty" }, "Not known yet."));
  const meter = (name, used, limit) => make("div", { class: "meter" },
    make("span", {}, make("span", {}, name), make("span", {}, limit == null ? String(used) : `${used} of ${limit}`)),
    limit ? make("progress", { value: used, max: limit, "aria-label": `${name}: ${used} of ${limit}` }) : null);
  const facts = [["received today", usage.today.daily_messages_received], ["actions today", usage.today.actions_created], ["answers being written", usage.today.messages_reserved]];
  $("usage").replaceChildren(
    meter("Sent today", usage.today.daily_messages_sent, usage.today.daily_message_limit),
    meter("Sent this month", usage.month.total_messages_sent, usage.month.monthly_message_limit),
    make("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])));
}

function showProduct() {
  show($("actions"), state.actions, (each) => each.id, action);
  const turns = state.record ? state.record.turns : [];
  $("nothing").hidden = turns.length > 0;
  show($("turns"), turns.map((each) => ({ ...each, answering: each.open && state.record.answering })), (each) => each.id, turn);
  showOrders(state.orders);
  showUsage(state.usage);
  for (const input of $("lies").querySelectorAll("input")) input.checked = state.lies.includes(input.name);
}

// ---- talking to the server -----------------------------------------------------------------------

async function call(path, body, say = notice) {
  try {
    const response = await fetch(path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (response.ok) return await response.json();
    const answer = await response.text();
    let problem = answer;
    try { problem = JSON.parse(answer).detail || JSON.parse(answer).problem || answer; } catch { /* it was plain text */ }
    say(problem);
  } catch {
    say("The page's server does not answer.");
  }
  return null;
}

function notice(text) { $("notice").textContent = text; }

const bot = () => page.bots[$("bot").value];

function customer(fresh) {
  let digits = localStorage.getItem("customer");
  if (!digits || fresh) {
    digits = `1202${String(Math.floor(Math.random() * 9000000) + 1000000)}`;
    localStorage.setItem("customer", digits);
  }
  return digits;
}

function open() {
  if (stream) stream.close();
  const chosen = bot();
  $("face").textContent = chosen.name[0];
  $("about").textContent = chosen.about;
  $("owner").textContent = chosen.business;
  $("me").textContent = `+${customer()}`;
  $("ideas").replaceChildren(...chosen.tryThis.map((idea) => make("button", { type: "button", onclick: () => send("text", idea) }, idea)));
  quote(null);
  stream = new EventSource(`/events?${new URLSearchParams({ bot: $("bot").value, customer: customer() })}`);
  stream.onmessage = (event) => { state = JSON.parse(event.data); if ($("notice").textContent === GONE) notice(""); showPhone(); showProduct(); showProgram(); };
  stream.onerror = () => notice(GONE);
}

async function send(kind, text = "", more = {}) {
  $("samples").open = false;
  const last = state.lines.filter((line) => line.from === "bot").at(-1);
  if (kind === "reaction" && !last) { notice("There is no answer yet to react to."); return null; }
  notice("");
  const about = quotes || (kind === "reaction" ? last.wamid : null);
  const told = { bot: $("bot").value, customer: customer(), kind, text, about, ...more };
  if (kind === "text" && $("text").value.trim() === text) $("text").value = "";
  quote(null);
  const answer = await call("/messages", told);
  if (!answer && kind === "text" && !$("text").value) $("text").value = text;
  return answer;
}

async function start() {
  page = await call("/bots");
  if (!page) return setTimeout(start, 1000);
  $("bot").replaceChildren(...page.bots.map((each, place) => new Option(`${each.name} \u00b7 ${each.business}`, place)));
  $("lies").replaceChildren(...page.lies.map((lie) => {
    const input = make("input", { type: "checkbox", role: "switch", name: lie.name });
    input.addEventListener("change", () => call(`/lies/${lie.name}`, { on: input.checked }));
    return make("label", { class: "switch" }, input, make("span", {}, lie.title, make("small", {}, lie.about)));
  }));
  makeModes(page.modes);
  makeSheets(page.hears);
  open();
}

// A keyboard that opens, or another window size: the last message stays in sight.
$("wall").addEventListener("scroll", () => { const wall = $("wall"); atEnd = wall.scrollHeight - wall.scrollTop - wall.clientHeight < 120; });
new ResizeObserver(() => { if (atEnd) $("wall").scrollTop = $("wall").scrollHeight; }).observe($("wall"));
$("form").addEventListener("submit", (event) => { event.preventDefault(); const text = $("text").value.trim(); if (text) send("text", text); });
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("form").requestSubmit(); }
});
$("bot").addEventListener("change", open);
$("stranger").addEventListener("click", () => { customer(true); open(); });
$("unquote").addEventListener("click", () => quote(null));
$("samples").addEventListener("keydown", (event) => { if (event.key === "Escape") { $("samples").open = false; $("samples").querySelector("summary").focus(); } });
document.addEventListener("click", (event) => { if (!$("samples").contains(event.target)) $("samples").open = false; });
for (const button of $("samples").querySelectorAll("[data-kind]")) button.addEventListener("click", () => send(button.dataset.kind));
start();
