// Single-key shortcuts: never while someone types or uses a control, and they can be turned off (WCAG 2.1.4).

const STORED = "nightjar.keys";
const dialog = document.getElementById("help");
const choice = document.getElementById("keys-on");

export function watchKeys(keys) {
  choice.checked = localStorage.getItem(STORED) !== "off";
  choice.addEventListener("change", () => localStorage.setItem(STORED, choice.checked ? "on" : "off"));
  document.getElementById("help-open")?.addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || dialog.open) return;
    if (!choice.checked || isTyping(event.target)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "?") dialog.showModal();
    else if (key in keys && !isControl(event.target, key)) keys[key]();
    else return;
    event.preventDefault();
  });
}

function isTyping(target) {
  return target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

// Enter, Space and the arrows already mean something on a button, a link, or the player itself.
function isControl(target, key) {
  return key.length > 1 || key === " " ? target.closest("a, button, summary, input, video, [role=slider]") !== null : false;
}
