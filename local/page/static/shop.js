// The shop's orders, and how far they are. Loaded before phone.js, whose functions it uses.

const NEXT = { pending: "confirmed", confirmed: "preparing", preparing: "shipped", shipped: "delivered" };
const DOES = { confirmed: "Confirm", preparing: "Prepare", shipped: "Ship", delivered: "Deliver", cancelled: "Cancel" };

let acted = null; // the order that was just moved

function order(each) {
  const steps = [NEXT[each.status], ["pending", "confirmed", "preparing"].includes(each.status) && "cancelled"].filter(Boolean);
  const buttons = steps.map((to) =>
    make("button", { type: "button", class: `quiet step ${to}`, "aria-label": `${DOES[to]} order ${each.order_number}`, onclick: () => move(each, to, buttons) }, DOES[to]));
  const items = each.items.map((item) => `${item.quantity} \u00d7 ${item.product_name}`).join(", ");
  return make("li", { class: "order" },
    make("div", { class: "first" }, make("b", {}, each.order_number), make("span", { class: "money" }, `${each.total_amount} ${each.currency}`)),
    make("p", { dir: "auto" }, items),
    make("div", { class: "second" }, make("span", { class: `state ${each.status}` }, each.status), ...buttons));
}

async function move(each, to, buttons) {
  for (const button of buttons) button.disabled = true;
  moved("");
  const done = await call(`/bots/${$("bot").value}/orders/${each.id}`, { status: to }, moved);
  if (done) acted = each.id;
  if (done) moved(`${each.order_number} is ${to}; its customer is told.`);
  else for (const button of buttons) button.disabled = false;
}

const moved = (text) => { $("moved").textContent = text; };

function showOrders(orders) {
  $("ordered").hidden = !orders.length;
  show($("orders"), orders, (each) => each.id, order);
  // A step that had the focus is gone once it is done: the next one of the same order has it then.
  const next = acted && $("orders").querySelector(`[data-key="${acted}"] button:enabled`);
  if (next && document.activeElement === document.body) next.focus();
  if (next) acted = null;
}
