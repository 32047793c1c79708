/** posthog-js with everything off but the capture of exceptions. */

import type { PostHogConfig } from "posthog-js";

export const SAFE_OPTIONS: Partial<PostHogConfig> = {
  // Nothing is kept in the browser, and nobody gets a profile.
  persistence: "memory",
  disable_persistence: true,
  person_profiles: "never",
  save_referrer: false,
  save_campaign_params: false,
  // Nothing is recorded, counted or asked of visitors.
  disable_session_recording: true,
  autocapture: false,
  capture_pageview: false,
  capture_pageleave: false,
  capture_heatmaps: false,
  capture_dead_clicks: false,
  capture_performance: false,
  rageclick: false,
  disable_surveys: true,
  disable_product_tours: true,
  disable_conversations: true,
  disable_web_experiments: true,
  // Nothing is fetched: no flags, no remote configuration, no scripts.
  advanced_disable_flags: true,
  disable_external_dependency_loading: true,
  // posthog-js sends nothing by itself: `before_send` takes each event away from it.
  request_batching: false,
  opt_out_useragent_filter: true,
  capture_exceptions: {
    capture_unhandled_errors: true,
    capture_unhandled_rejections: true,
    capture_console_errors: false,
  },
};
