// What a tenant's own program got by webhooks. Loaded before phone.js, which begins at once; it uses
// that one's functions when it is called. All that came from outside is put in as text, never as HTML.

const seconds = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const good = (status) => status >= 200 && status < 300;

function attempt(each) {
  const how = each.status == null ? "no answer" : String(each.status);
  const seal = each.verified == null ? null : each.verified ? "\u2713" : "\u2717";
  const about = each.verified == null ? "signature not looked at" : each.verified ? "signature verified" : `not verified: ${each.problem}`;
  return make("li", { class: each.status == null ? "waits" : good(each.status) ? "good" : "bad", title: `${seconds(each.at)}, ${about}` },
    make("span", {}, `${each.n} \u2192`), make("b", {}, how),
    seal && make("span", { class: each.verified ? "seal" : "seal broken", role: "img", "aria-label": about }, seal));
}

function told(each) {
  const again = make("button", { type: "button", class: "quiet again", onclick: () => ask("replay", { webhook_id: each.id }, again, `${each.id} is sent again.`) }, "Replay");
  const body = make("details", {}, make("summary", {}, "Body"), make("pre", { dir: "auto", tabindex: "0" }, each.body));
  const missed = !each.taken || each.arrivals.some((arrival) => arrival.verified === false);
  return make("li", { class: `event${missed ? " missed" : ""}` },
    make("div", { class: "first" }, make("b", { class: "type" }, each.type), make("time", {}, seconds(each.at))),
    make("div", { class: "second" }, make("code", { class: "id" }, each.id),
      make("ol", { class: "attempts", "aria-label": "Attempts" }, ...each.arrivals.map(attempt))),
    make("div", { class: "below" }, body, again));
}

function showProgram() {
  const { mode, events } = state.program;
  for (const input of $("modes").querySelectorAll("input")) input.checked = input.value === mode;
  $("silence").hidden = events.length > 0;
  $("got").textContent = events.length ? `(${events.length})` : "";
  show($("told"), events, (each) => each.id, told);
}

function makeModes(modes) {
  $("modes").replaceChildren(...modes.map((mode) => {
    const input = make("input", { type: "radio", name: "mode", value: mode.name });
    input.addEventListener("change", () => call(`/bots/${$("bot").value}/program/mode`, { mode: mode.name }, answered));
    return make("label", { title: mode.about }, input, make("span", {}, mode.name));
  }));
  $("recover").addEventListener("click", () => ask("recover", {}, $("recover"), "What it missed in the last day is sent again."));
}

const answered = (text) => { $("answered").textContent = text; };

async function ask(does, body, button, done) {
  button.disabled = true;
  answered("");
  if (await call(`/bots/${$("bot").value}/program/${does}`, body, answered)) answered(done);
  button.disabled = false;
}
