// On your backend, for the customer of the session:
const answer = await fetch('PUBLIC_URL/api/messenger/support-link', {
  method: 'POST',
  headers: {
    'Authorization': `Bearer ${process.env.SUBSCRIPTION_TIMELINE_KEY}`,
    'Content-Type': 'application/json',
  },
  body: JSON.stringify({ user_id: req.user.id, email: req.user.email, locale: req.user.locale }),
});
const { url } = await answer.json();
res.redirect(url);
