"""What a page says to whoever hears it; for browser tests only."""

from __future__ import annotations

# WCAG 2.5.3, Label in Name: who speaks what is shown must hit the control (axe: label-content-name-mismatch)
MISNAMED = """() => {
    const plain = (text) => text.toLowerCase().replace(/[^\\p{L}\\p{N}]+/gu, ' ').trim();
    return [...document.querySelectorAll('button, a, summary, [role=button], [role=link]')]
        .filter((one) => one.hasAttribute('aria-label') && one.checkVisibility())
        .filter((one) => !plain(one.getAttribute('aria-label')).includes(plain(one.innerText)))
        .map((one) => `${one.innerText} is called ${one.getAttribute('aria-label')}`);
}"""
