// What is sent besides words: files, a voice message, a cart. Loaded before phone.js, whose functions
// it uses when it is called.

const FILE_MAX = 5 * 1024 * 1024;
let goods = [];
let recorder = null;

const base64 = (blob) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = fail;
  reader.readAsDataURL(blob);
});

async function sendFile(kind, blob, name, text = "") {
  if (blob.size > FILE_MAX) return notice("WhatsApp takes no picture of more than 5 MB, and this page no file.");
  if (!blob.size) return notice("The file is empty.");
  return send(kind, text, { file: { name, data: await base64(blob) } });
}

// ---- a cart ------------------------------------------------------------------------------------

const price = (each) => (Number(each.price) * ($("old").checked ? 0.9 : 1)).toFixed(2);
const counts = () => [...$("goods").querySelectorAll("input")].map((input) => Number(input.value) || 0);

function step(input, by) {
  input.value = Math.min(99, Math.max(0, (Number(input.value) || 0) + by));
  showSum();
}

function ware(each) {
  const input = make("input", { type: "number", min: 0, max: 99, value: 0, inputmode: "numeric", "aria-label": `How many of ${each.name}` });
  input.addEventListener("input", showSum);
  const stepper = (sign, by, does) => make("button", { type: "button", class: "round", "aria-label": `${does} ${each.name}`, onclick: () => step(input, by) }, sign);
  const left = each.stock == null || each.stock > 5 ? "" : each.stock ? `, only ${each.stock} left` : ", sold out";
  return make("div", { class: "good" }, make("p", {}, each.name, make("small", {}, make("span", { class: "price" }), left)),
    stepper("\u2212", -1, "One less of"), input, stepper("+", 1, "One more of"));
}

function showSum() {
  const shown = [...$("goods").querySelectorAll(".price")];
  goods.forEach((each, n) => { shown[n].textContent = `${price(each)} ${each.currency}`; });
  const total = counts().reduce((sum, count, n) => sum + count * Number(price(goods[n])), 0);
  $("sum").textContent = total ? `${total.toFixed(2)} ${goods[0].currency}` : goods.length ? "Nothing in it yet." : "This business sells nothing here.";
  $("send-cart").disabled = !total;
}

async function openCart() {
  const listed = await call(`/bots/${$("bot").value}/v1/products?is_active=true&limit=30`);
  if (!listed) return;
  const { currency } = bot();
  goods = listed.data.filter((each) => each.sku && each.price != null).reverse().map((each) => ({ ...each, currency }));
  $("goods").replaceChildren(...goods.map(ware));
  showSum();
  $("cart").showModal();
  $("goods").querySelector("input")?.focus();
}

function cartClosed() {
  if ($("cart").returnValue === "send") {
    const items = counts().map((quantity, n) => ({ sku: goods[n].sku, quantity, price: price(goods[n]), currency: goods[n].currency })).filter((each) => each.quantity);
    if (items.length) send("cart", "", { items });
  }
  $("text").focus();
}

// ---- a voice message ---------------------------------------------------------------------------

const HEARS = {
  simulator: "No model listens here: the simulator knows a file by its hash, so it hears what stands above, whatever the sound.",
  model: "TRANSCRIPTION_MODEL listens: record it. A tune has no words.",
  nobody: "Nobody listens: without TRANSCRIPTION_MODEL the bot says that it cannot open it.",
};

async function record() {
  if (recorder) return recorder.stop();
  $("microphone").textContent = "";
  let stream = null;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    $("microphone").textContent = "The browser gives no microphone. Send a tune.";
    return;
  }
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.onstop = () => {
    const blob = new Blob(pieces, { type: recorder.mimeType });
    for (const track of stream.getTracks()) track.stop();
    recorder = null;
    $("record").textContent = "Record it";
    if (!$("voice").open) return; // it was closed: nothing is sent
    $("voice").close("");
    sendFile("voice", blob, "voice", $("said").value.trim());
  };
  recorder.start();
  $("record").textContent = "Stop and send";
}

function voiceClosed() {
  const hums = $("voice").returnValue === "send";
  if (recorder) recorder.stop();
  if (hums) send("voice", $("said").value.trim());
  $("text").focus();
}

function makeSheets(hears) {
  $("hears").textContent = HEARS[hears];
  $("record").hidden = !(window.MediaRecorder && navigator.mediaDevices?.getUserMedia);
  $("record").addEventListener("click", record);
  $("old").addEventListener("change", showSum);
  $("cart").addEventListener("close", cartClosed);
  $("voice").addEventListener("close", voiceClosed);
  for (const sheet of [$("cart"), $("voice")]) {
    sheet.addEventListener("click", (event) => { if (event.target === sheet) { sheet.returnValue = ""; sheet.close(); } });
    sheet.addEventListener("cancel", () => { sheet.returnValue = ""; });
  }
  for (const button of $("samples").querySelectorAll("[data-opens]")) {
    button.addEventListener("click", () => {
      $("samples").open = false;
      if (button.dataset.opens === "cart") return openCart();
      $("voice").returnValue = "";
      $("voice").showModal();
    });
  }
  $("pick").addEventListener("click", () => { $("samples").open = false; $("file").click(); });
  $("file").addEventListener("change", async () => {
    const [file] = $("file").files;
    $("file").value = "";
    if (!file) return;
    const text = $("text").value.trim();
    if (await sendFile("picture", file, file.name, text)) $("text").value = "";
    $("text").focus();
  });
}
