"use strict";
// Light or dark as the system has it, or as the person chose. Runs before the page is drawn, so that nothing flashes.
(() => {
  const NAME = "steersman:theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem(NAME);
    } catch {
      return null;
    }
  };
  const apply = () => {
    const theme = chosen();
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  apply();
  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      const name = () => {
        const dark = (chosen() || (system.matches ? "dark" : "light")) === "dark";
        button.textContent = dark ? "Light colours" : "Dark colours";
        return dark ? "light" : "dark";
      };
      name();
      button.hidden = false;
      button.addEventListener("click", () => {
        const next = name();
        if (next === (system.matches ? "dark" : "light")) localStorage.removeItem(NAME);
        else localStorage.setItem(NAME, next);
        apply();
        name();
      });
    }
    // A menu closes by Escape and by a click elsewhere.
    document.addEventListener("click", (event) => {
      for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    });
    document.addEventListener("keydown", (event) => {
      const menu = document.querySelector("details.menu[open]");
      if (event.key !== "Escape" || !menu) return;
      event.preventDefault();
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });
  addEventListener("storage", (event) => event.key === NAME && apply());
})();
