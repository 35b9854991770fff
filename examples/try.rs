//! scratch
use gupstress::policy::*; use gupstress::stress::*; use gupstress::stress::run::run; use std::time::Duration;
fn main(){
 let a:Vec<String>=std::env::args().collect();
 let profile=&a[1]; let threads:u32=a[3].parse().unwrap(); let pins:u64=a[4].parse().unwrap();
 let driver=if a.get(5).map(|s|s=="sim").unwrap_or(false){Which::Sim}else{Which::Os};
 let seed:u64=a.get(6).map(|s|s.parse().unwrap()).unwrap_or(1);
 let kernel=a.get(7).map(|s|s.as_str()).unwrap_or("linux-7.2.13");
 let sets:Vec<(String,String)>=a.iter().skip(8).map(|s|{let (k,v)=s.split_once('=').unwrap();(k.to_string(),v.to_string())}).collect();
 for pol in a[2].split(','){
 let mut p=load_profile(Source::Preset(profile),&sets).unwrap(); p.threads=threads;
 let job=Job{policy:load_policy(Source::Preset(pol),&[]).unwrap(),rules:load_kernel(Source::Preset(kernel),&[]).unwrap(),profile:p,driver,pins,timeout:Duration::from_secs(30),stall_after:Duration::from_secs(2),seed};
 let t=std::time::Instant::now();
 let r=run(&job,&mut ()).unwrap();
 let mut v=serde_json::to_value(&r).unwrap(); v["resolved"]=serde_json::Value::Null; v["timeline"]=serde_json::Value::Null;
 let f=v["failures"].take(); 
 println!("wall {:?}\n{}",t.elapsed(),serde_json::to_string(&v).unwrap());
 if let Some(f)=f.get(0){println!("first failure {f}");}
 }
}
