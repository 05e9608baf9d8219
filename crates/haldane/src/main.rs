//! Haldane: progressive delivery in one binary.

mod cli { pub(crate) mod place; }
mod daemon;
mod demo;
mod extras;
mod up;
mod wire;

use clap::Parser;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
    #[arg(short, long, global = true)]
    output: Option<String>,
}
#[derive(clap::Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Shop(demo::shop::ShopArgs),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(tracing_subscriber::EnvFilter::from_env("HALDANE_LOG")).init();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    rt.block_on(async move {
        match args.command {
            Command::Demo(a) => {
                let mut stage = demo::plain::PlainStage::new(std::io::stderr());
                let told = demo::run::run(&a, &mut stage).await?;
                println!("{}", serde_json::to_string(&told)?);
                for l in told.lines() { println!("{l}"); }
                Ok(())
            }
            Command::Shop(a) => demo::shop::serve(a, async { let mut s = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap(); s.recv().await; }).await,
        }
    })
}
