"""What every page is checked for in a browser: axe, the keyboard, and that hostile text did nothing."""

from pathlib import Path

from playwright.sync_api import Dialog, Page

AXE = Path(__file__).parent / "axe" / "axe.min.js"
RUN_AXE = """async () => {
  const found = await axe.run(document, { resultTypes: ['violations'] });
  return found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => one.id + ': ' + one.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary).join('; '));
}"""
FOCUSABLE = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter(node => node.checkVisibility() && !node.disabled && node.type !== 'hidden')
  .map((node, i) => (node.dataset.probe = String(i)))
  .filter((probe, i) => {
    const node = document.querySelector(`[data-probe="${probe}"]`);
    if (node.type !== 'radio') return true;
    const all = [...document.querySelectorAll(`input[name="${node.name}"]`)];
    const group = all.filter(one => one.form === node.form);
    return node === (group.find(one => one.checked) ?? group[0]);
  })"""
FOCUSED = """() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const seen = node.type === 'radio' ? [node, node.closest('.choice'), node.nextElementSibling] : [node];
  const outlined = style => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return { probe: node.dataset.probe ?? '', shown: seen.some(one => one && outlined(getComputedStyle(one))),
           name: node.outerHTML.slice(0, 120) };
}"""


def serious(page: Page) -> list[str]:
    page.evaluate("() => { for (const one of document.getAnimations()) one.finish(); }")
    page.add_script_tag(path=AXE)
    return page.evaluate(RUN_AXE)


def guarded(page: Page, address: str) -> list[str]:
    """Everything that a page did and should not have: filled in while it goes on."""
    faults: list[str] = []
    page.add_init_script(
        "addEventListener('securitypolicyviolation', event => "
        "(window.__violations ??= []).push('blocked ' + event.violatedDirective + ' ' + event.blockedURI))"
    )

    def refuse(dialog: Dialog) -> None:
        faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)
    page.on("request", lambda one: None if one.url.startswith(address) else faults.append(f"a request to {one.url}"))
    page.on("popup", lambda one: faults.append(f"a window: {one.url}"))
    return faults
