// Sends verdict forms without leaving the page and puts the answered fragment in the place of the item.
// Without this file the same forms are posted as they are.

import { keeps } from "./keep.js";

const status = document.getElementById("review-status");

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-verdict]");
  if (!form) return;
  event.preventDefault();
  // Whoever typed a new label and pressed Enter works with the keys, and wants the next one.
  submitVerdict(form, event.submitter, { advance: document.activeElement.name === "label" });
});

// Answers the new item, or null where the verdict was not taken; the reason is said.
export async function submitVerdict(form, button, { advance = false } = {}) {
  const item = form.closest("li");
  const body = new FormData(form, button);
  if (keeps()) body.set("keep", "1");
  else body.delete("keep");
  item.setAttribute("aria-busy", "true");
  let response;
  try {
    const action = button.hasAttribute("formaction") ? button.formAction : form.action;
    response = await fetch(action, { method: "POST", body, headers: { "HX-Request": "true" } });
  } catch {
    return refuse(item, "Not saved: the server did not answer. Try again.");
  }
  if (response.redirected || !response.ok) {
    const plain = response.headers.get("Content-Type")?.startsWith("text/plain");
    const lost = response.redirected ? "Not saved: you are not logged in any more. Reload the page." : "";
    return refuse(item, lost || (plain ? await response.text() : `Not saved: the server answered ${response.status}.`));
  }
  const detail = { advance, undone: button.hasAttribute("formaction") };
  return swap(item, await response.text(), detail);
}

function refuse(item, sentence) {
  item.removeAttribute("aria-busy");
  say(sentence, true);
  return null;
}

function swap(item, html, detail) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fresh = document.importNode(parsed.querySelector("li"), true);
  const hadFocus = item.contains(document.activeElement);
  if (item.getAttribute("aria-current")) fresh.setAttribute("aria-current", "true");
  item.replaceWith(fresh);
  if (hadFocus) (fresh.querySelector(".verdicts button") ?? fresh).focus();
  const label = fresh.querySelector(".item-title b, h3 a").textContent.trim();
  const kept = fresh.querySelector(".keeps-media") ? ", and its media is kept" : "";
  say(`${label}: ${fresh.querySelector(".badge").lastChild.textContent.trim()}${kept}`);
  const fate = parsed.getElementById("fate");
  if (fate) document.getElementById("fate")?.replaceWith(document.importNode(fate, true));
  document.dispatchEvent(new CustomEvent("nightjar:judged", { detail: { ...detail, item: fresh } }));
  return fresh;
}

export function say(sentence, isError = false) {
  status.textContent = sentence;
  status.classList.toggle("is-error", isError);
}
