"""Hostile strings, and what a page that shows them must not have done."""

from xss_strings import strings

ALL = strings()
ON_PAGE = """() => {
  const places = ['task', 'guide', 'banners', 'note', 'toasts'].map(id => document.getElementById(id)).filter(Boolean);
  places.push(...document.querySelectorAll('.projects, .top'));
  const never = ['script', 'iframe', 'object', 'embed', 'img', 'image', 'link', 'style', 'base', 'meta',
    'video', 'audio', 'source', 'math', 'xss', 'marquee', 'isindex', 'form', 'animate', 'use'];
  const found = [];
  for (const place of places) for (const node of place.querySelectorAll('*')) {
    const name = node.tagName.toLowerCase();
    const ours = node.closest('svg')?.matches('button svg, summary svg, .brand svg, .toast svg, .empty svg');
    if (never.includes(name) && !node.matches('[data-sign-out]')) found.push(name);
    if (name === 'svg' && !ours) found.push('svg');
    for (const one of node.attributes) {
      const styled = one.name === 'style' && name !== 'textarea';
      if (one.name.startsWith('on') || styled || one.name === 'ping') found.push(`${name} ${one.name}`);
      if (one.name === 'href' && !/^(https?:|mailto:|[/]|#)/.test(one.value)) found.push(`href ${one.value}`);
    }
  }
  if (window.__ran) found.push('a script ran');
  return found.concat(window.__violations || []);
}"""
EVERYWHERE = """() => {
  const never = ['iframe', 'object', 'embed', 'img', 'image', 'base', 'meta', 'style', 'video', 'audio', 'source',
    'math', 'xss', 'marquee', 'isindex', 'animate', 'frame', 'frameset', 'portal', 'applet', 'title'];
  const found = [];
  for (const node of document.body.querySelectorAll('*')) {
    const name = node.tagName.toLowerCase();
    const drawing = node.closest('svg');
    if (never.includes(name) && !(drawing && name === 'title')) found.push(name);
    if (name === 'script' && node.type !== 'application/json') {
      if (node.text || !node.getAttribute('src').startsWith('/static/')) found.push(node.outerHTML.slice(0, 200));
    }
    if (name === 'link' && !node.getAttribute('href').startsWith('/static/')) found.push('link');
    if (name === 'form' && !/^(|[/].*)$/.test(node.getAttribute('action') ?? '')) found.push('form');
    for (const one of node.attributes) {
      if (one.name.startsWith('on') || one.name === 'ping' || one.name === 'srcdoc') found.push(`${name} ${one.name}`);
      if (one.name.endsWith('href') && !/^(https?:|mailto:|[/#])/.test(one.value)) found.push(`href ${one.value}`);
      if (one.name === 'style' && /url|import|expression/.test(one.value)) found.push(`style ${one.value}`);
    }
  }
  if (window.__ran) found.push('a script ran');
  return found.concat(window.__violations || []);
}"""
"""The same for any page, whatever its parts: no element, attribute or address that text of others could have made."""
