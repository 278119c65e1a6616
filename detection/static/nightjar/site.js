// On every page: shows what needs a script, hides what is only for doing without.

document.documentElement.classList.add("js");
for (const element of document.querySelectorAll(".with-js[hidden]")) element.hidden = false;
for (const element of document.querySelectorAll(".without-js")) element.hidden = true;

// A fragment that is polled after the session has ended would be the login page: go there instead.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (new URL(xhr.responseURL, location.href).pathname.startsWith("/login/")) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});
