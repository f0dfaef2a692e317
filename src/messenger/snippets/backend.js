// Your apps call this route. It returns a token for the customer of the session only.
app.get('/messenger-token', requireLogin, async (req, res) => {
  const answer = await fetch('PUBLIC_URL/api/messenger/token', {
    method: 'POST',
    headers: {
      'Authorization': `Bearer ${process.env.SUBSCRIPTION_TIMELINE_KEY}`,
      'Content-Type': 'application/json',
    },
    body: JSON.stringify({
      user_id: req.user.id, // the RevenueCat app user id
      email: req.user.email,
      name: req.user.name,
    }),
  });
  // {"token": "…", "expires_at": 1798675200}; errors explain themselves in error.message
  res.status(answer.status).json(await answer.json());
});
