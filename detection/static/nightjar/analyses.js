// Choosing many analyses at once: says how many are chosen, and chooses all of the page. The list is replaced every few
// seconds; what is chosen stays, because each box is kept.

const boxes = () => [...document.querySelectorAll('#results input[name="analysis"]')];

function tell() {
  const count = document.getElementById("chosen-count");
  if (!count) return;
  const all = boxes();
  const chosen = all.filter((box) => box.checked).length;
  count.textContent = chosen ? `${chosen} of ${all.length} chosen` : "Choose some below.";
  const one = document.getElementById("choose-all");
  one.checked = chosen > 0 && chosen === all.length;
  one.indeterminate = chosen > 0 && chosen < all.length;
  one.closest("label").hidden = !all.length;
}

document.addEventListener("change", (event) => {
  if (event.target.id === "choose-all") for (const box of boxes()) box.checked = event.target.checked;
  if (event.target.closest("#results")) tell();
});
document.addEventListener("htmx:afterSettle", tell);
window.addEventListener("pageshow", tell);
tell();
